"""Which runs are one curve, and what their seeds are at each step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memorax.evaluation import read_metrics
from memorax.evaluation.curves import group_curves, group_runs, on_one_grid, run_labels
from tests.evaluation.make_run import add_facts, make_run


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


def test_runs_of_another_precision_are_told_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, (seed,)) for seed, name in enumerate("abc")]
    for run, x64 in zip(runs[1:], (False, True), strict=True):
        add_facts(run, origin={"x64": x64})
    assert [(curve.label, len(curve.values)) for curve in curves(runs)] == [("x64 False", 2), ("x64 True", 1)]


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


def test_options_of_an_environment_make_tasks_of_it(tmp_path: Path) -> None:
    options: dict[str, dict[str, Any]] = {"a": {"size": 2, "delay": 3}, "b": {"delay": 5, "size": 2}, "c": {"size": 2}}
    folders = [
        make_run(tmp_path / f"{name}{torso}", (0,), environment="mine:Recall", torso=torso, environment_options=found)
        for name, found in options.items()
        for torso in ("gru", "mlp")
    ]
    assert [(curve.label, curve.environment) for curve in curves(folders)] == [
        ("gru", "mine:Recall delay=3"),
        ("mlp", "mine:Recall delay=3"),
        ("gru", "mine:Recall delay=5"),
        ("mlp", "mine:Recall delay=5"),
        ("gru", "mine:Recall"),
        ("mlp", "mine:Recall"),
    ]
    assert [curve.environment for curve in curves(folders[:2], labels=("x", "y"))] == ["mine:Recall"] * 2
    assert [curve.environment for curve in curves(folders[1:3], labels=("x", "x"))] == [
        "mine:Recall delay=3",
        "mine:Recall delay=5",
    ]
    assert run_labels(folders[::2]) == [
        ("mine:Recall", "ppo, gru, delay=3"),
        ("mine:Recall", "ppo, gru, delay=5"),
        ("mine:Recall", "ppo, gru"),
    ]


def test_how_an_agent_sees_a_task_is_a_setting(tmp_path: Path) -> None:
    """Returns compare: it is what an ablation changes."""
    folders = [
        make_run(tmp_path / name, (0,), normalize_observation=flag, environment_options=options)
        for name, flag, options in (
            ("a", False, {}),
            ("b", False, {"mask_observation": [0, 2]}),
            ("c", False, {"normalize_observation": True}),
        )
    ]
    assert [(curve.label, curve.environment) for curve in curves(folders[:2])] == [
        ("ppo, gru", "suite::Task"),
        ("mask observation [0, 2]", "suite::Task"),
    ]
    # The option and the setting are the same wrapper.
    folders.append(make_run(tmp_path / "d", (1,), normalize_observation=True, environment_options={}))
    assert [(curve.label, len(curve.values)) for curve in curves([folders[0], *folders[2:]])] == [
        ("normalize observation False", 1),
        ("normalize observation True", 2),
    ]


def test_agents_made_in_python_are_told_apart_by_their_environments(tmp_path: Path) -> None:
    """Their config says nothing of it, the record of the agent does."""
    short = {"environment": "Chain", "environment.length": 5, "environment_params.length": 5}
    facts: dict[str, dict[str, Any]] = {
        "a": {"agent": short},
        # What the parameters say counts, not the default that the environment has.
        "b": {"agent": short | {"environment_params.length": 9}},
        "c": {"agent": {"environment": "TMaze"}},
        # A frame stack is around the environment: its settings stand one level below.
        "d": {
            "agent": {"environment": "Chain", "environment.num_frames": 4, "environment.FrameStack.length": 5}
            | {"environment_params.length": 5},
            "interface": {"wrappers": {"frame_stack": 4}},
        },
        "e": {
            "agent": {"environment": "Chain", "environment.TimeLimit.length": 5, "environment_params.length": 5},
            "interface": {"wrappers": {"time_limit": 3}},
        },
    }
    folders = [
        add_facts(make_run(tmp_path / name, (0,), hyperparameters=None), **found) for name, found in facts.items()
    ]
    tasks = ["Chain length=5", "Chain length=9", "TMaze", "Chain length=5", "Chain length=5 time_limit=3"]
    found = curves(folders, labels=tuple("abcde"))
    assert [(curve.environment, curve.label) for curve in found] == list(zip(tasks, "abcde", strict=True))
    assert [environment for environment, _ in run_labels(folders)] == ["Chain", "Chain", "TMaze", "Chain", "Chain"]
    assert [curve.environment for curve in curves([folders[0], folders[3]])] == ["Chain", "Chain"]


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


def test_seeds_that_have_no_value_yet_are_counted(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", (0, 1)), make_run(tmp_path / "b", (2,), steps=(10,))]
    (curve,) = curves(folders, "evaluation_return")
    assert (len(curve.values), curve.waiting) == (2, 1)
    assert curves(folders)[0].waiting == 0


def test_a_run_may_log_more_while_it_is_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,))
    table = read_metrics(folder)
    with open(folder / "metrics.csv", "a") as file:
        file.write("0,50,1.0,50.0,,\n")
    (group,) = group_runs([folder], [table], "return")
    np.testing.assert_array_equal(group.seeds[0].steps, [10, 20, 30, 40])


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
