"""Metrics on Weights & Biases, or kept for it where `WANDB_MODE=offline`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memorax.loggers.logger import Logger, Outcome, Row, RunDescription, scalars
from memorax.loggers.packages import import_package

PROJECT = "memorax"
"""The project of runs where `WANDB_PROJECT` names no other."""


class WandbLogger(Logger):
    """Logs to a run of Weights & Biases that has the run's id, name, group, tags and settings.

    Its own environment variables choose the rest: `WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_MODE`. A run that is resumed
    goes on with the same run there; steps that it has already are not logged again.
    """

    def __init__(self, folder: str | Path | None) -> None:
        super().__init__(folder)
        self._package = import_package("wandb", "wandb")
        self._run: Any = None

    def start(self, run: RunDescription) -> None:
        """Open the run, or go on with it."""
        self._run = self._package.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=run.id,
            name=run.name,
            group=run.group,
            tags=list(run.tags),
            config=dict(run.config),
            dir=None if self.folder is None else str(self.folder),
            resume="allow",
            # Otherwise it takes over the output of the process.
            settings=self._package.Settings(console="off"),
        )

    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        """Log the mean of each metric, and the values of the seeds."""
        step = int(rows[0]["step"])
        if step >= self._run.step:
            self._run.log(scalars(rows, steps_per_second), step=step)

    def close(self, outcome: Outcome) -> None:
        """Finish the run; one that was interrupted or failed is marked as failed."""
        if self._run is not None:
            self._run.finish(exit_code=0 if outcome == "completed" else 1)
