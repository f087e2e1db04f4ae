"""What the training loop tells a logger."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = Mapping[str, float | int]


@dataclass(frozen=True)
class RunDescription:
    """What a logger knows of a run before it starts.

    Attributes:
        title: what it is called.
        columns: the names of what each row holds, always the same ones in the same order.
        step: environment steps taken already, where the run is resumed: what was logged after it happens again.
        total_steps: environment steps it will take in each seed.
        num_seeds: how many seeds run side by side.
        config: the settings, as JSON would hold them.
    """

    title: str
    columns: tuple[str, ...]
    step: int
    total_steps: int
    num_seeds: int
    config: Mapping[str, Any] = field(default_factory=dict)


class Logger(abc.ABC):
    """Where metrics go. A member takes the run folder (or `None`) and implements `start`, `log` and `close`."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @abc.abstractmethod
    def start(self, run: RunDescription) -> None:
        """Called once, before anything else but `status`."""

    @abc.abstractmethod
    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        """Take one row per seed, all at the same step.

        Args:
            rows: `seed`, `step`, `seconds` and the metrics; a value that does not exist is NaN.
            steps_per_second: environment steps over all seeds, without compilation and evaluation.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Called once, also after an error."""

    def status(self, text: str) -> None:  # noqa: B027 - most loggers have no use for it
        """What the loop is doing now, in a word or two."""
