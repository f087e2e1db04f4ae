"""Pictures of learning curves: what is drawn, and what the figure says of it."""

from __future__ import annotations

from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memorax.evaluation import draw_runs, plot_runs, read_metrics
from memorax.evaluation.plot import default_metric
from tests.evaluation.make_run import make_run


def make_axes() -> Axes:
    return Figure().subplots()


def legend(ax: Axes) -> tuple[list[str], str]:
    """The entries of the legend, and its title."""
    box = ax.get_legend()
    assert box is not None
    return [text.get_text() for text in box.get_texts()], box.get_title().get_text()


def test_draws_a_picture(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", (0, 1)), make_run(tmp_path / "b", (0,), offset=9.0, torso="mlp")]
    path = plot_runs(folders, tmp_path / "pictures" / "curve.png")
    picture = matplotlib.image.imread(path)
    assert picture.shape[:2] == (750, 1200)
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50
    assert plot_runs(folders, tmp_path / "curve.svg", metric="return").read_text().startswith("<?xml")


def test_few_seeds_are_thin_lines_and_many_an_interval_that_is_named(tmp_path: Path) -> None:
    ax = make_axes()
    draw_runs([make_run(tmp_path / "a", (0, 1))], ax)
    assert len(ax.lines) == 3 and not ax.collections
    assert legend(ax) == (["ppo, gru (2 seeds)"], "line: mean over seeds\nthin: single seeds")
    ax = make_axes()
    draw_runs([make_run(tmp_path / "b", (0, 1, 2, 3, 4))], ax)
    assert len(ax.lines) == len(ax.collections) == 1
    title = "line: mean over seeds\nshaded: 95 % t-interval of the mean"
    assert legend(ax) == (["ppo, gru (5 seeds)"], title)
    ax = make_axes()
    draw_runs([make_run(tmp_path / "c", (0,))], ax)
    assert (len(ax.lines), legend(ax)) == (1, (["ppo, gru (1 seed)"], ""))


def test_a_line_that_is_cut_says_so(tmp_path: Path) -> None:
    ax = make_axes()
    draw_runs([make_run(tmp_path / "a", (0,)), make_run(tmp_path / "b", (1,), steps=(10, 20))], ax, "return")
    assert legend(ax)[0] == ["ppo, gru (2 seeds, cut where one ends)"]


def test_seeds_without_a_value_yet_are_counted(tmp_path: Path) -> None:
    ax = make_axes()
    draw_runs(
        [make_run(tmp_path / "a", (0,)), make_run(tmp_path / "b", (1, 2, 3), steps=(10,))], ax, "evaluation_return"
    )
    assert legend(ax)[0] == ["ppo, gru (1 of 4 seeds)"]


def test_a_seed_that_is_nan_leaves_a_gap_in_the_mean(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0, 1))
    metrics = folder / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("1,30,1.0,31.0", "1,30,1.0,nan"))
    ax = make_axes()
    draw_runs([folder], ax, "return")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [10.5, 20.5, np.nan, 40.5])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [10, 20, 30, 40])
    assert legend(ax)[0] == ["ppo, gru (2 seeds, gaps where one is NaN)"]


def test_equal_curves_are_all_seen(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / torso, (0,), torso=torso) for torso in ("gru", "lstm", "mlp")]
    picture = matplotlib.image.imread(plot_runs(folders, tmp_path / "curve.png"))[..., :3]
    middle = picture[200:, 300:]  # without the legend
    for color in ("C0", "C1", "C2"):
        near = np.abs(middle - np.array(matplotlib.colors.to_rgb(color))).max(axis=-1) < 0.02
        assert near.sum() > 100, f"{color} is hidden"


@pytest.mark.parametrize(
    ("label", "drawn"), [("$\\lambda$", "$\\lambda$"), ("$\\foo{$", "\\$\\foo{\\$"), ("a$", "a\\$"), ("_old", " _old")]
)
def test_every_label_is_drawn(label: str, drawn: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,))
    ax = make_axes()
    draw_runs([folder], ax, labels=[label])
    assert legend(ax)[0] == [f"{drawn} (1 seed)"]
    plot_runs([folder], tmp_path / "curves.png", labels=[label])


def test_there_is_a_panel_for_each_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [
        make_run(tmp_path / f"{task}-{torso}", (0,), environment=task, torso=torso)
        for task in ("a", "b", "c", "d")
        for torso in ("gru", "mlp")
    ]
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *arguments, **settings: figures.append(figure))
    plot_runs(folders[2:], tmp_path / "curve.png")
    panels = figures[0].axes
    assert [panel.get_title() for panel in panels] == ["b", "c", "d"]
    assert all([line.get_color() for line in panel.lines] == ["C0", "C1"] for panel in panels)
    assert all(legend(panel)[0] == ["gru (1 seed)", "mlp (1 seed)"] for panel in panels)
    with pytest.raises(ValueError, match="ax holds one environment, the runs are of a, b: draw them one by one"):
        draw_runs(folders[:4], make_axes())


def test_there_is_a_panel_for_each_task_of_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [
        make_run(tmp_path / f"{delay}{torso}", (0,), torso=torso, environment_options={"delay": delay})
        for delay in (3, 5)
        for torso in ("gru", "mlp")
    ]
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *arguments, **settings: figures.append(figure))
    plot_runs(folders, tmp_path / "curve.png")
    assert [panel.get_title() for panel in figures[0].axes] == ["suite::Task delay=3", "suite::Task delay=5"]
    assert all(legend(panel)[0] == ["gru (1 seed)", "mlp (1 seed)"] for panel in figures[0].axes)


def test_short_runs_are_drawn_by_their_training_episodes(tmp_path: Path) -> None:
    """Evaluations are fewer than lines of metrics: a run with up to four of them has a curve from the first line on."""
    short = make_run(tmp_path / "a", (0,))
    long = make_run(tmp_path / "b", (0,), steps=range(10, 130, 10))
    unlogged = make_run(tmp_path / "c", (0,), steps=(20, 40))
    metrics = [default_metric([read_metrics(folder)]) for folder in (short, long, unlogged)]
    assert metrics == ["return", "evaluation_return", "evaluation_return"]
    assert default_metric([read_metrics(short), read_metrics(long)]) == "return"
    ax = make_axes()
    (curve,) = draw_runs([short], ax)
    assert (curve.steps[0], ax.get_ylabel(), ax.lines[0].get_marker()) == (10, "return of training episodes", "o")


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
