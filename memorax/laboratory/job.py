"""What a worker does for a run, whichever executor it belongs to."""

from __future__ import annotations

import time
from pathlib import Path

from memorax.evaluation.runs import CONFIG_FILE
from memorax.laboratory.executors import Job
from memorax.laboratory.outcome import train_with_outcome
from memorax.training.config import TrainConfig, config_from_json
from memorax.training.devices import cores_to_devices
from memorax.training.folder import owned
from memorax.training.run import resume_run, run_config
from memorax.validation import whole_number

LONGEST_WAIT = 60.0
"""How long a worker waits for another one to leave its run folder, in seconds: one that is saving."""


def train_job(job: Job) -> None:
    """Begin or go on with a run, and write to its folder how it ended.

    Raises:
        Exception: what ended the run, if something did.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    wait_until_free(job.folder)

    def train() -> None:
        config = config_from_json(job.settings, str(job.folder))
        cores_to_devices(config.devices)
        path = job.folder / CONFIG_FILE
        if path.exists() and not path.stat().st_size:
            path.unlink()  # a worker was killed before it wrote it
        if path.exists():
            resume_run(job.folder, total_steps=config.total_steps)
        else:
            run_config(config, job.folder)

    # Read from the settings as they are: whether they are valid is found out where an error is noted.
    total_steps = whole_number("total_steps", job.settings.get("total_steps", TrainConfig.total_steps))
    train_with_outcome(job.folder, total_steps, train)


def wait_until_free(folder: Path) -> None:
    """Wait for a minute at most until no other process trains in a run folder."""
    latest = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < latest:
        try:
            with owned(folder):
                return
        except ValueError:
            time.sleep(0.5)
