"""The workers of a sweep: processes on this machine, started again where they are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from memorax.laboratory.executors.local import share_cores, usable_core_numbers
from memorax.laboratory.sweep import REPORT_FILE, Sweep, count_trials, give_up_lost, open_study, report
from memorax.training.folder import owned
from memorax.training.interruption import Interruption

POLL_SECONDS = 1.0
OUTPUT_FILE = "workers.log"

MOST_DEATHS = 10
"""After so many deaths of workers something is wrong that more of them do not mend."""


class SweepInterrupted(KeyboardInterrupt):
    """Raised by `run_sweep` after a signal, once all workers have stopped.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal_number


def run_sweep(sweep: Sweep, workers: int | None = None, tell: Callable[[str], None] = lambda news: None) -> Any:
    """Train the trials that a sweep lacks; the same again goes on where it was stopped.

    Args:
        sweep: the sweep.
        workers: number of processes side by side; by default one for each core.
        tell: function that is told what happened, in one line.

    Returns:
        The study. Its report is in `report.md` of the folder.

    Raises:
        ValueError: if the folder holds another sweep or is in use, or workers end by themselves again and again.
        SweepInterrupted: after a signal, once all workers have stopped.
    """
    cores = usable_core_numbers()
    workers = len(cores) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers ({workers}) must be at least 1")
    sweep.write()
    with owned(sweep.folder), Interruption() as interruption:
        study = open_study(sweep)
        give_up_lost(study)
        places = share_cores(cores, workers)
        running: dict[int, subprocess.Popen[bytes]] = {}
        deaths, told = 0, -1
        try:
            while running or count_trials(study) < sweep.trials:
                if interruption.signal is not None:
                    raise SweepInterrupted(
                        interruption.signal,
                        f"stopped with {_finished(study)} of {sweep.trials} trials: the same command goes on",
                    )
                for place, process in list(running.items()):
                    if process.poll() is not None:
                        del running[place]
                        if process.returncode != 0:
                            deaths += 1
                            again = give_up_lost(study)
                            tell(f"a worker ended with code {process.returncode}: {again} trial(s) again")
                if deaths > MOST_DEATHS:
                    raise ValueError(f"workers ended {deaths} times: see {sweep.folder / OUTPUT_FILE}")
                missing = sweep.trials - count_trials(study)
                for place in range(workers):
                    if place not in running and missing > 0:
                        running[place] = _start(sweep, places[place])
                if _finished(study) != told:
                    told = _finished(study)
                    tell(f"{told} of {sweep.trials} trials")
                time.sleep(POLL_SECONDS)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()
            give_up_lost(study)
            (sweep.folder / REPORT_FILE).write_text(report(sweep, study))
    return study


def _finished(study: Any) -> int:
    return count_trials(study) - count_trials(study, "RUNNING")


def _start(sweep: Sweep, cores: list[int]) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, "-m", "memorax.laboratory.worker", str(sweep.folder), "--sweep"),
        *("--parent", str(os.getpid()), "--cores", ",".join(map(str, cores))),
    ]
    with open(sweep.folder / OUTPUT_FILE, "ab") as output:
        # Ctrl-C is for this process, which passes it on.
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
