"""Scores of the seeds of runs: their returns, brought to one scale for all tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from memorax.evaluation.curves import Group, Seed, on_one_grid

KNOWN_BOUNDS: Mapping[str, tuple[float, float]] = {
    "memory::": (0.0, 1.0),
    "popgym::": (-1.0, 1.0),
    **{f"popgym::{name}CartPole": (0.0, 1.0) for name in ("PositionOnly", "NoisyPositionOnly", "VelocityOnly")},
}
"""The returns that scores 0 and 1 stand for, by the beginning of an environment's id; the longest that fits counts."""

CURVE_POINTS = 50
"""A sample-efficiency curve has no more points than this, evenly spaced."""


class Bounds(NamedTuple):
    """The returns of a task that scores 0 and 1 stand for, and where they come from."""

    low: float
    high: float
    source: str


@dataclass(frozen=True)
class Scores:
    """The returns and scores of settings in tasks.

    Attributes:
        settings: label of each setting, in the order of the runs.
        tasks: name of each task, an environment's id and its options, in the order of the runs.
        groups: the seeds of a setting in a task, where it has any with a value.
        bounds: the scale of each task.
        last: how many of the last values of a seed its return is the mean of.
    """

    settings: tuple[str, ...]
    tasks: tuple[str, ...]
    groups: Mapping[tuple[str, str], Group]
    bounds: Mapping[str, Bounds]
    last: int

    @property
    def common_tasks(self) -> tuple[str, ...]:
        """The tasks in which every setting has runs."""
        return tuple(task for task in self.tasks if all((setting, task) in self.groups for setting in self.settings))

    def returns(self, setting: str, task: str) -> np.ndarray:
        """The return of each seed of a setting, `[runs]`: the mean of its last values.

        Where that is not finite, it is the return of score 0: to leave the seed out would flatter its setting.
        """
        seeds = self.groups[setting, task].seeds
        returns = np.array([seed.values[-self.last :].mean() for seed in seeds])
        return np.where(np.isfinite(returns), returns, self.bounds[task].low)

    def scores(self, setting: str, tasks: Sequence[str]) -> list[np.ndarray]:
        """The scores of the seeds of a setting, `[runs]` for each task."""
        return [self._score(self.returns(setting, task), task) for task in tasks]

    def length(self, task: str) -> float:
        """The most environment steps that a seed of any setting was trained for in a task."""
        groups = [self.groups[setting, task] for setting in self.settings if (setting, task) in self.groups]
        return max(float(seed.steps[-1]) for group in groups for seed in group.seeds)

    def curves(
        self, setting: str, tasks: Sequence[str], as_shares: bool = False
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The scores of a setting along its training, on the steps that all of its seeds in the tasks have.

        Args:
            setting: label of the setting.
            tasks: ids of the environments.
            as_shares: count steps as a share of the `length` of their task, as tasks of different lengths need.

        Returns:
            Environment steps `[N]`, and `[N, runs]` for each task; `N` is 0 where seeds have no steps in common.
        """
        seeds = [(seed, task) for task in tasks for seed in self.groups[setting, task].seeds]
        units = {task: self.length(task) if as_shares else 1.0 for task in tasks}
        steps, values = on_one_grid(
            [(seed.steps / units[task], self._score(seed.values, task)) for seed, task in seeds]
        )
        chosen = np.unique(np.linspace(0, max(0, len(steps) - 1), CURVE_POINTS).round().astype(int))[: len(steps)]
        ends = np.cumsum([len(self.groups[setting, task].seeds) for task in tasks])[:-1]
        return steps[chosen], np.split(values[:, chosen].T, ends, axis=1)

    def _score(self, returns: np.ndarray, task: str) -> np.ndarray:
        """Returns on the scale of a task, 0 where they are not finite."""
        low, high, _ = self.bounds[task]
        return np.where(np.isfinite(returns), (returns - low) / (high - low), 0.0)


def score_runs(groups: Sequence[Group], bounds: Mapping[str, tuple[float, float]], last: int = 1) -> Scores:
    """Bring the seeds of runs to one scale for all tasks.

    A task's bounds are those of the longest beginning of its id among `bounds`, or else among `KNOWN_BOUNDS`, or else
    the lowest and the highest value that any of its seeds ever had.

    Args:
        groups: the seeds of each setting in each environment; seeds that have no value yet are left out.
        bounds: low and high return by an environment's id, or by the beginning of ids.
        last: how many of the last values of a seed its return is the mean of.

    Raises:
        ValueError: if bounds fit no task or are not finite, low is not below high, `last` is not positive, or no seed
            has a value yet.
    """
    if last < 1:
        raise ValueError(f"last ({last}) must be a positive number of evaluations")
    tasks = tuple(dict.fromkeys(group.environment for group in groups))
    for name, (low, high) in bounds.items():
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"normalize ({name}={low:g},{high:g}) must be a low return and a higher one, both finite")
        if not any(task.startswith(name) for task in tasks):
            raise ValueError(f"normalize ({name}={low:g},{high:g}) must begin the id of a task: {', '.join(tasks)}")
    found: dict[tuple[str, str], Group] = {}
    for group in groups:
        if seeds := tuple(seed for seed in group.seeds if len(seed.steps)):
            found[group.label, group.environment] = Group(group.label, group.environment, seeds, group.settings)
    if not found:
        raise ValueError("no run has an evaluation yet: let one reach it, or name another --metric")
    return Scores(
        settings=tuple(dict.fromkeys(setting for setting, _ in found)),
        tasks=tuple(dict.fromkeys(task for _, task in found)),
        groups=found,
        bounds={
            task: _bounds(task, bounds, [s for (_, name), group in found.items() if name == task for s in group.seeds])
            for _, task in found
        },
        last=last,
    )


def _bounds(task: str, given: Mapping[str, tuple[float, float]], seeds: Sequence[Seed]) -> Bounds:
    for table, source in ((given, "given"), (KNOWN_BOUNDS, "known")):
        if names := [name for name in table if task.startswith(name)]:
            return Bounds(*table[max(names, key=len)], source)
    values = np.concatenate([seed.values for seed in seeds])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return Bounds(low, high if high > low else low + 1.0, "lowest and highest of these runs")
