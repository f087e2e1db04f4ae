"""Which runs are one curve, and what their seeds are at each step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memorax.evaluation import read_metrics
from memorax.evaluation.curves import group_curves, on_one_grid, run_labels
from tests.evaluation.make_run import make_run


def curves(folders: list[Path], metric: str = "return", labels: tuple[str, ...] = ()) -> Any:
    return group_curves(folders, [read_metrics(folder) for folder in folders], metric, labels)


def test_runs_that_differ_only_in_their_seeds_are_one_line(tmp_path: Path) -> None:
    one = make_run(tmp_path / "a", (0, 1))
    other = make_run(tmp_path / "b", (2,), log_interval=10)
    (curve,) = curves([one, other], "evaluation_return")
    assert (curve.label, curve.environment, curve.cut, curve.unfinished) == ("ppo, gru", "suite::Task", False, False)
    np.testing.assert_array_equal(curve.steps, [20, 40])
    np.testing.assert_array_equal(curve.values, [[20, 40], [21, 41], [22, 42]])


def test_runs_of_other_random_keys_are_told_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, (seed,)) for seed, name in enumerate("abc")]
    for run, kind in zip(runs[1:], ("threefry2x32", "rbg"), strict=True):
        content = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps({**content, "origin": {"random_keys": kind}}))
    assert [(curve.label, len(curve.values)) for curve in curves(runs)] == [
        ("random keys threefry2x32", 2),
        ("random keys rbg", 1),
    ]


def test_labels_say_what_differs(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / "a", (0,)),
        make_run(tmp_path / "b", (0,), torso="mlp"),
        make_run(tmp_path / "c", (0,), hyperparameters={"gamma": 0.9}),
    ]
    assert [curve.label for curve in curves(folders)] == ["gru, gamma 0.99", "mlp, gamma 0.99", "gru, gamma 0.9"]
    assert [curve.label for curve in curves(folders[:2])] == ["gru", "mlp"]


def test_environments_are_apart_and_not_in_the_label(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name, (0,), environment=name) for name in ("a", "b")]
    assert [(curve.label, curve.environment) for curve in curves(folders)] == [("ppo, gru", "a"), ("ppo, gru", "b")]


def test_what_differs_between_environments_alone_is_not_in_the_label(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / f"{task}{torso}", (0,), environment=task, torso=torso, total_steps=steps)
        for task, steps in (("a", 10), ("b", 20))
        for torso in ("gru", "mlp")
    ]
    assert [curve.label for curve in curves(folders)] == ["gru", "mlp", "gru", "mlp"]


def test_widths_that_were_matched_in_each_environment_are_not_in_the_label(tmp_path: Path) -> None:
    widths = {("a", "gru"): 32, ("b", "gru"): 32, ("a", "mlp"): 72, ("b", "mlp"): 80}
    folders = [
        make_run(tmp_path / f"{task}{torso}", (0,), environment=task, torso=torso, features=features)
        for (task, torso), features in widths.items()
    ]
    assert [curve.label for curve in curves(folders)] == ["gru", "gru", "mlp", "mlp"]
    # Where a torso has two widths in one environment, they are what is compared.
    folders.append(make_run(tmp_path / "c", (0,), environment="a", torso="mlp", features=80))
    assert [curve.label for curve in curves(folders)][-2:] == ["mlp, features 80", "mlp, features 80"]


def test_a_seed_counts_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", (0, 1))
    with pytest.raises(ValueError, match=r"a is named twice: a run counts once"):
        curves([run, tmp_path / "a" / ".." / "a"])
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    with pytest.raises(ValueError, match=rf"seed 0 of 'ppo, gru' is in {run} and in {copy}: a seed counts once"):
        curves([run, copy])


def test_agents_made_in_python_are_never_pooled_unless_labels_say_so(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / "a" / "run", (0,), hyperparameters=None),
        make_run(tmp_path / "b" / "run", (1,), hyperparameters=None),
        make_run(tmp_path / "c", (2,), hyperparameters=None, lr=3e-3),
    ]
    assert [curve.label for curve in curves(folders[:2])] == [str(folder) for folder in folders[:2]]
    assert [len(curve.values) for curve in curves(folders)] == [1, 1, 1]
    both, single = curves(folders, labels=("mine", "mine", "other"))
    assert (both.label, len(both.values), single.label, len(single.values)) == ("mine", 2, "other", 1)
    with pytest.raises(ValueError, match=r"^labels \(1\) must be one for each of the 3 runs$"):
        curves(folders, labels=("mine",))


def test_a_curve_ends_where_its_shortest_seed_ends(tmp_path: Path) -> None:
    """So that its mean never bends because a seed drops out."""
    one, other = make_run(tmp_path / "a", (0,)), make_run(tmp_path / "b", (1,))
    text = (other / "metrics.csv").read_text()
    (other / "metrics.csv").write_text(text[: text.index("1,30") + 6])
    (curve,) = curves([one, other])
    np.testing.assert_array_equal(curve.steps, [10, 20])
    np.testing.assert_array_equal(curve.values, [[10, 20], [11, 21]])
    assert curve.cut


def test_seeds_logged_at_other_steps_are_brought_to_one_grid(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", (0,)), make_run(tmp_path / "b", (100,), steps=(15, 25, 35))]
    (curve,) = curves(folders)
    np.testing.assert_array_equal(curve.steps, [15, 20, 25, 30, 35])
    np.testing.assert_array_equal(curve.values, [[15, 20, 25, 30, 35], [115, 120, 125, 130, 135]])


def test_a_resumed_run_is_drawn_with_one_that_never_stopped() -> None:
    resumed, straight = np.array([8, 16, 96, 98, 100, 150, 200.0]), np.array([50, 100, 150, 200.0])
    steps, values = on_one_grid([(resumed, 2 * resumed), (straight, 2 * straight)])
    np.testing.assert_array_equal(steps, [50, 96, 98, 100, 150, 200])
    np.testing.assert_allclose(values, [2 * steps] * 2)


def test_seeds_without_a_step_in_common_are_refused(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", (0,), steps=(10, 20)), make_run(tmp_path / "b", (1,), steps=(30, 40))]
    with pytest.raises(ValueError, match=r"no steps of 'return' in common: .*a ends at step 20, .*b begins at 30"):
        curves(folders)


def test_what_has_no_value_yet_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,), steps=(10,))
    with pytest.raises(ValueError, match="a has no value of 'evaluation_return' yet"):
        curves([folder], "evaluation_return")


def test_a_value_that_is_nan_is_not_a_value_that_is_missing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,), steps=(10, 20, 40, 60))
    metrics = folder / "metrics.csv"
    metrics.write_text(metrics.read_text().replace(",40.0,0", ",nan,0"))
    (curve,) = curves([folder], "evaluation_return")
    np.testing.assert_array_equal(curve.steps, [20, 40, 60])  # at step 10 there was no evaluation
    np.testing.assert_array_equal(curve.values, [[20, np.nan, 60]])
    steps, values = on_one_grid([(curve.steps, curve.values[0]), (np.array([20, 30, 60]), np.array([1.0, 2.0, 5.0]))])
    np.testing.assert_array_equal(steps, [20, 30, 40, 60])
    np.testing.assert_allclose(values, [[20, np.nan, np.nan, 60], [1, 2, 3, 5]])


def test_evaluations_that_episodes_outlast_are_marked(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,))
    metrics = folder / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("40.0,0", "40.0,3"))
    assert curves([folder], "evaluation_return")[0].unfinished
    assert not curves([folder], "return")[0].unfinished


def test_runs_are_labelled_one_by_one(tmp_path: Path) -> None:
    first, second = (make_run(tmp_path / name, (0,), torso=torso) for name, torso in (("a", "gru"), ("b", "lru")))
    other = make_run(tmp_path / "c", (0,), torso="lru", environment="suite::Other")
    assert run_labels([first, second, other]) == [
        ("suite::Task", "gru"),
        ("suite::Task", "lru"),
        ("suite::Other", "lru"),
    ]
    again = make_run(tmp_path / "d", (1,), torso="gru")
    labels = [label for _, label in run_labels([first, second, again])]
    assert labels == [f"gru, {first}", "lru", f"gru, {again}"], "seeds tell no setting from another, folders do"
    assert run_labels([first, second], ["x", "y"]) == [("suite::Task", "x"), ("suite::Task", "y")]
    with pytest.raises(ValueError, match=r"labels \(1\) must be one for each of the 2 runs"):
        run_labels([first, second], ["x"])
    with pytest.raises(ValueError, match="is named twice"):
        run_labels([first, first])
