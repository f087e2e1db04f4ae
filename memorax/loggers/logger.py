"""What the training loop tells a logger."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Row = Mapping[str, float | int]
"""What is known of one seed at one step, by column; what does not exist (yet) is left out, and NaN is NaN."""

Outcome = Literal["completed", "interrupted", "failed"]
"""How a run ended: with all its steps, by a signal, or by an error."""


@dataclass(frozen=True)
class RunDescription:
    """What a logger knows of a run before it starts.

    Attributes:
        id: tells the run from every other one, and stays the same when it is resumed.
        name: name of the run.
        columns: the names of what a row may hold, always the same ones in the same order.
        step: environment steps whose metrics were logged already, where the run is resumed: what was logged after them
            happens again.
        total_steps: environment steps it will take in each seed.
        num_seeds: number of seeds that run side by side.
        group: what it has in common with other runs, such as the experiment they belong to.
        tags: words to find it by.
        config: the settings, as JSON would hold them.
    """

    id: str
    name: str
    columns: tuple[str, ...]
    step: int
    total_steps: int
    num_seeds: int
    group: str | None = None
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


class Logger(abc.ABC):
    """Where metrics go. A member takes the run folder (or `None`) and implements `start`, `log` and `close`.

    `start` may refuse a run by raising. What any other method raises is told to the user once and then left: it stops
    neither training nor saving, and the logger goes on being called.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)

    @abc.abstractmethod
    def start(self, run: RunDescription) -> None:
        """Called once, before anything else but `status`."""

    @abc.abstractmethod
    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        """Take one row per seed, all at the same step.

        Args:
            rows: `seed`, `step`, `seconds` and the metrics; what does not exist is left out.
            steps_per_second: environment steps over all seeds, without compilation and evaluation; NaN where not known.
        """

    @abc.abstractmethod
    def close(self, outcome: Outcome) -> None:
        """Called once, at the end, however the run ended, and after an error also before `start`."""

    def status(self, text: str) -> None:  # noqa: B027 - most loggers have no use for it
        """What the loop is doing now, in a word or two."""
