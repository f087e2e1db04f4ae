"""Metrics as TensorBoard reads them: `tensorboard --logdir runs`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memorax.loggers.logger import Logger, Outcome, Row, RunDescription, scalars
from memorax.loggers.packages import import_package

FOLDER = "tensorboard"


class TensorBoardLogger(Logger):
    """Writes event files to `tensorboard/` in the run folder, with the settings as a text.

    Where a run is resumed, TensorBoard is told to forget what had been written after the checkpoint.
    """

    def __init__(self, folder: str | Path | None) -> None:
        super().__init__(folder)
        if self.folder is None:
            raise ValueError("the tensorboard logger needs a folder: pass one, or leave the tensorboard logger out")
        self.path = self.folder / FOLDER
        self._package = import_package("tensorboardX", "tensorboard")
        self._writer: Any = None

    def start(self, run: RunDescription) -> None:
        """Open a new event file."""
        self._writer = self._package.SummaryWriter(
            str(self.path), purge_step=run.step + 1, filename_suffix=f".{run.step}"
        )
        if run.step == 0:
            facts = {"id": run.id, "name": run.name, "group": run.group, "tags": list(run.tags), **run.config}
            # Four spaces make a block of code of a line of Markdown.
            self._writer.add_text("run", "\n".join(f"    {line}" for line in json.dumps(facts, indent=2).splitlines()))

    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        """Write the mean of each metric, and the values of the seeds, and flush them."""
        for name, value in scalars(rows, steps_per_second).items():
            self._writer.add_scalar(name, value, int(rows[0]["step"]))
        self._writer.flush()

    def close(self, outcome: Outcome) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
