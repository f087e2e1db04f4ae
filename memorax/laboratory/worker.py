"""`python -m memorax.laboratory.worker FOLDER`: trains one run, whose settings are read from the standard input.

With `--sweep`, FOLDER is that of a sweep, and trials of it are trained until there are enough.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


def main() -> int:
    """Train a run on the cores that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m memorax.laboratory.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.add_argument("--parent", type=int, help="process without which the run is to save and stop")
    parser.add_argument("--cores", help="numbers of the cores to train on, with commas between them")
    parser.add_argument("--sweep", action="store_true", help="train trials of a sweep")
    given = parser.parse_args()
    if given.cores and hasattr(os, "sched_setaffinity"):
        # Before JAX starts, which counts the cores that it may use.
        os.sched_setaffinity(0, {int(core) for core in given.cores.split(",")})
    if given.parent is not None:
        stop_without(given.parent)

    # Here rather than above: JAX must not start before.
    from memorax.training.interruption import Interrupted

    try:
        if given.sweep:
            from memorax.laboratory.sweep import read_sweep, work
            from memorax.training.devices import cores_to_devices

            sweep = read_sweep(given.folder)
            cores_to_devices(sweep.config.devices)
            work(sweep)
        else:
            from memorax.evaluation.runs import CONFIG_FILE
            from memorax.laboratory.executors import Job
            from memorax.laboratory.job import train_job

            # What the run records as its command: one that trains the same agents again.
            sys.argv = ["memorax", "train", "--config", str(given.folder / CONFIG_FILE)]
            train_job(Job(given.folder, json.load(sys.stdin)))
    except Interrupted as interrupt:
        return 128 + interrupt.signal
    return 0


def stop_without(parent: int) -> None:
    """Send SIGTERM to this process once its parent is gone, looked for each second."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
