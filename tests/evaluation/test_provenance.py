"""What a report warns of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memorax.evaluation.curves import Group, Seed
from memorax.evaluation.pages import Items
from memorax.evaluation.provenance import Run, notes
from memorax.evaluation.scores import score_runs


def seed(number: int, *values: float, unfinished: bool = False) -> Seed:
    return Seed(number, Path("run"), 10.0 * np.arange(1, len(values) + 1), np.array(values), unfinished)


def notes_on(*groups: Group, steps: int = 40) -> list[str]:
    run = Run(Path("run"), {"config": {"total_steps": 40}}, {"step": np.array([10, steps])})
    _, items = notes([run], groups, score_runs(groups, {"": (0, 10)}))
    assert isinstance(items, Items)
    return list(items.texts)


def test_seeds_that_count_otherwise_are_named() -> None:
    seeds = (seed(0, 1.0), seed(1, 1.0, np.nan), seed(2, np.nan, 1.0), seed(3), seed(4, 2.0, unfinished=True), seed(5))
    settings = ({"gamma": 0.9, "run": "a"}, {"gamma": 0.99, "run": "b"})
    assert notes_on(Group("gru", "task", seeds, settings)) == [
        "gru in task: seeds 3, 5 had no value yet and are left out.",
        "gru in task, seed 1: a last value is NaN or infinite, which counts as a score of 0.",
        "gru in task: evaluations were too short, and episodes count with the return they had reached.",
        "With fewer than 5 seeds in a task, bootstrap intervals of that task are too narrow.",
        "gru: its runs differ in gamma.",
    ]


def test_options_of_the_environment_belong_to_the_task() -> None:
    seeds = tuple(seed(number, 1.0) for number in range(5))
    one, other = ({"environment_options": {"size": size}, "total_steps": 10 * size} for size in (1, 2))
    complete = ["Every setting has as many seeds in every task, and every run is complete."]
    assert notes_on(Group("gru", "a", seeds, (one,)), Group("gru", "b", seeds, (other,))) == complete
    assert notes_on(Group("gru", "a", seeds, (one, other)), Group("gru", "b", seeds, (other,))) == [
        "gru: its runs differ in environment options, total steps.",
    ]


def test_nothing_is_said_where_there_is_nothing_to_say() -> None:
    seeds = tuple(seed(number, 1.0) for number in range(5))
    group = Group("gru", "task", seeds, ({"gamma": 0.9},))
    assert notes_on(group) == ["Every setting has as many seeds in every task, and every run is complete."]
    assert notes_on(group, steps=30) == [
        "run reached step 30 of 40: its seeds count with what they had reached.",
    ]
