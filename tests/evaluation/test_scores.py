"""Scores of seeds: on which scale, and which seeds count with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memorax.evaluation.curves import Group, Seed
from memorax.evaluation.scores import score_runs

NAN = float("nan")


def group(label: str, task: str, *seeds: list[float]) -> Group:
    """Seeds with values at steps 10, 20, ..."""
    logged = [
        Seed(number, Path("run"), 10.0 * np.arange(1, len(values) + 1), np.array(values, float), False)
        for number, values in enumerate(seeds)
    ]
    return Group(label, task, tuple(logged), ({},))


def test_scales_are_given_or_known_or_those_of_the_runs() -> None:
    tasks = ("popgym::RepeatFirstEasy", "popgym::PositionOnlyCartPoleHard", "memory::TMaze", "own::A", "own::AB", "x")
    groups = [group("gru", task, [2.0, 4.0], [3.0, NAN]) for task in tasks]
    scores = score_runs(groups, {"own::": (0, 10), "own::AB": (0, 20)})
    assert [scores.bounds[task] for task in tasks] == [
        (-1, 1, "known"),
        (0, 1, "known"),
        (0, 1, "known"),
        (0, 10, "given"),
        (0, 20, "given"),
        (2, 4, "lowest and highest of these runs"),
    ]
    np.testing.assert_array_equal(scores.scores("gru", ["own::AB"]), [[0.2, 0]])
    assert score_runs([group("gru", "x", [5.0])], {}).bounds["x"][:2] == (5, 6), "a scale has a length"


def test_the_return_of_a_seed_is_the_mean_of_its_last_values() -> None:
    groups = [group("gru", "a", [1, 2, 6], [0, 8], [])]
    assert list(score_runs(groups, {}).returns("gru", "a")) == [6, 8]
    assert list(score_runs(groups, {}, last=2).returns("gru", "a")) == [4, 4]


def test_a_seed_that_ended_in_nan_counts_as_the_worst() -> None:
    scores = score_runs([group("gru", "a", [1, NAN], [3, np.inf], [4, 5])], {"a": (0, 10)})
    assert list(scores.returns("gru", "a")) == [0, 0, 5]
    steps, (values,) = scores.curves("gru", ["a"])
    np.testing.assert_allclose(values, [[0.1, 0.3, 0.4], [0, 0, 0.5]])
    assert list(steps) == [10, 20]


def test_curves_are_over_the_steps_that_all_seeds_have() -> None:
    scores = score_runs([group("gru", "a", [1, 2, 3], [4, 5]), group("gru", "b", [0] * 200)], {"a": (0, 10)})
    steps, (first, second) = scores.curves("gru", ["a", "b"])
    assert (list(steps), first.shape, second.shape) == ([10, 20], (2, 2), (2, 1))
    assert len(scores.curves("gru", ["b"])[0]) == 50
    late = Seed(1, Path("run"), np.array([90.0]), np.array([1.0]), False)
    apart = Group("gru", "a", (*group("gru", "a", [1, 2]).seeds, late), ({},))
    steps, (values,) = score_runs([apart], {}).curves("gru", ["a"])
    assert (len(steps), values.shape) == (0, (0, 2))


def test_curves_over_tasks_of_different_lengths_are_over_shares_of_them() -> None:
    groups = [group("gru", "a", [0, 10]), group("gru", "b", [0, 2, 4, 6, 8, 10, 10, 10]), group("mlp", "a", [1] * 4)]
    scores = score_runs(groups, {"a": (0, 10), "b": (0, 10)})
    assert (scores.length("a"), scores.length("b")) == (40, 80)
    shares, (first, second) = scores.curves("gru", ["a", "b"], as_shares=True)
    np.testing.assert_allclose(shares, [0.25, 0.375, 0.5], err_msg="the only seed of the short task has 20 of 40 steps")
    np.testing.assert_allclose([first[:, 0], second[:, 0]], [[0, 0.5, 1], [0.2, 0.4, 0.6]])


def test_aggregates_are_over_the_tasks_of_all_settings() -> None:
    scores = score_runs(
        [group("gru", "a", [1]), group("gru", "b", [1]), group("mlp", "b", [2]), group("x", "b", [])], {}
    )
    assert (scores.settings, scores.tasks, scores.common_tasks) == (("gru", "mlp"), ("a", "b"), ("b",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": {"a": (1, 1)}}, r"normalize \(a=1,1\) must be a low return and a higher one"),
        ({"bounds": {"a": (0, np.inf)}}, r"normalize \(a=0,inf\) must be a low return and a higher one, both finite"),
        ({"bounds": {"a": (-np.inf, 0)}}, r"normalize \(a=-inf,0\) must be a low return and a higher one, both finite"),
        ({"bounds": {"c": (0, 1)}}, r"normalize \(c=0,1\) must begin the id of a task: a"),
        ({"bounds": {}, "last": 0}, r"last \(0\) must be a positive number of evaluations"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_runs([group("gru", "a", [1])], **arguments)
    with pytest.raises(ValueError, match="no run has an evaluation yet"):
        score_runs([group("gru", "a", [])], {})
