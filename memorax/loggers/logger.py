"""What the training loop tells a logger."""

from __future__ import annotations

import abc
import math
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
        devices: the devices they are spread over, such as "2 x cpu".
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
    devices: str = ""
    group: str | None = None
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


class Logger(abc.ABC):
    """Where metrics go. A member takes the run folder (or `None`) and implements `start`, `log` and `close`.

    The constructor may refuse a run by raising, and `start` by a ValueError. What is raised otherwise is told to the
    user once and then left: it stops neither training nor saving, and the logger goes on being called.
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


def scalars(rows: Sequence[Row], steps_per_second: float) -> dict[str, float]:
    """The rows of one step as one value for each name, for loggers that know no seeds.

    Args:
        rows: as `Logger.log` takes them.
        steps_per_second: as `Logger.log` takes it.

    Returns:
        `name`: the mean over those of the seeds that have the metric. With several seeds also `name/seed_N`.
    """
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("seed", "step"):
                values.setdefault(name, {})[int(row["seed"])] = float(value)
    found = {name: sum(of_seed.values()) / len(of_seed) for name, of_seed in values.items()}
    if len(rows) > 1:
        found |= {f"{name}/seed_{seed}": value for name, of in values.items() for seed, value in of.items()}
    return found if math.isnan(steps_per_second) else {**found, "steps_per_second": steps_per_second}
