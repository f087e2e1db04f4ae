from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from memorax.evaluation import plot_runs, read_metrics
from memorax.evaluation.plot import group_curves
from memorax.evaluation.runs import read_config


def make_run(folder: Path, seeds: tuple[int, ...], offset: float = 0.0, **settings: Any) -> Path:
    folder.mkdir()
    config = {"environment": "suite::Task", "algorithm": "ppo", "torso": "gru", "seed": seeds[0]}
    config |= {"num_seeds": len(seeds), "hyperparameters": {"gamma": 0.99}} | settings
    (folder / "config.json").write_text(json.dumps({"memorax": "0.0.0", "config": config}))
    lines = ["seed,step,seconds,return,evaluation_return"]
    for step in (10, 20, 30, 40):
        lines += [f"{s},{step},1.0,{offset + step + s},{offset + step + s if step % 20 == 0 else ''}" for s in seeds]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


def curves(folders: list[Path], metric: str) -> Any:
    return group_curves(folders, [read_metrics(folder) for folder in folders], metric)


def test_runs_that_differ_only_in_their_seeds_are_one_line(tmp_path: Path) -> None:
    one = make_run(tmp_path / "a", (0, 1))
    other = make_run(tmp_path / "b", (2,))
    (curve,) = curves([one, other], "evaluation_return")
    assert curve.label == "ppo, gru"
    np.testing.assert_array_equal(curve.steps, [20, 40])
    np.testing.assert_array_equal(curve.values, [[20, 40], [21, 41], [22, 42]])


def test_labels_say_what_differs(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / "a", (0,)),
        make_run(tmp_path / "b", (0,), torso="mlp"),
        make_run(tmp_path / "c", (0,), hyperparameters={"gamma": 0.9}),
    ]
    assert [curve.label for curve in curves(folders, "return")] == [
        "gru, gamma 0.99",
        "mlp, gamma 0.99",
        "gru, gamma 0.9",
    ]
    assert [curve.label for curve in curves(folders[:2], "return")] == ["gru", "mlp"]


def test_a_run_that_is_not_finished_counts_as_far_as_it_goes(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a", (0,)), make_run(tmp_path / "b", (1,))
    text = (other / "metrics.csv").read_text()
    (other / "metrics.csv").write_text(text[: text.index("1,30") + 6])
    (curve,) = curves([one, other], "return")
    np.testing.assert_array_equal(curve.values, [[10, 20, 30, 40], [11, 21, np.nan, np.nan]])


def test_draws_a_picture(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", (0, 1)), make_run(tmp_path / "b", (0,), offset=9.0, torso="mlp")]
    path = plot_runs(folders, tmp_path / "pictures" / "curve.png")
    picture = matplotlib.image.imread(path)
    assert picture.shape[:2] == (750, 1200)
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50
    assert plot_runs(folders, tmp_path / "curve.svg", metric="return").read_text().startswith("<?xml")


def test_mistakes_are_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,))
    for arguments, message in (
        (([], "a.png"), "no run to plot"),
        (([tmp_path], "a.png"), "holds no metrics.csv"),
        (([folder], "a.xyz"), r"output \(a.xyz\) must end in one of .png"),
        (([folder], "a.png", "reward"), "has no metric 'reward': choose from seed, step"),
    ):
        with pytest.raises(ValueError, match=message):
            plot_runs(*arguments)
    (folder / "metrics.csv").write_text("seed,step\n")
    with pytest.raises(ValueError, match="holds no metrics yet"):
        plot_runs([folder], "a.png")


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,))
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="was not written by memorax"):
        read_config(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        read_config(folder)
