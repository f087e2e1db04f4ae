"""Pictures of learning curves: a panel for each task, a line for each setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memorax.evaluation.curves import Curve, group_curves
from memorax.evaluation.runs import read_metrics
from memorax.evaluation.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = (".png", ".pdf", ".svg", ".jpg")

PANELS_IN_A_ROW = 3

FEWEST_SEEDS_FOR_AN_INTERVAL = 5
"""With fewer seeds, Student's t gives an interval far wider than the seeds lie apart: the seeds are drawn instead."""

FEWEST_EVALUATIONS = 5
"""With fewer evaluations in some run, the default metric is the return of the training episodes."""

FEW_POINTS = 10
"""A line of up to so many points has a mark at each."""

LineStyle = str | tuple[int, tuple[float, ...]]

STYLES: tuple[LineStyle, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
"""Line styles by turns: where curves are equal, the one below shows through the gaps of the one above."""


def plot_runs(
    folders: Sequence[str | Path], output: str | Path, metric: str | None = None, labels: Sequence[str] = ()
) -> Path:
    """Draw the learning curves of runs into a file.

    There is a panel for each task, which is an environment and its options, and in it a line for each setting: the mean
    over its seeds. Options that only say how an agent sees the environment, such as `mask_observation`, belong to the
    setting. Each seed is a thin line where there are fewer than five; with more, the 95 % confidence interval of the
    mean (Student's t) is shaded. Seeds that were logged at different steps are interpolated. A line ends where its
    shortest seed ends and has a gap where a seed's value is NaN; seeds without a value yet are left out and counted.

    Args:
        folders: run folders.
        output: the picture to write; its ending says of what kind (png, pdf, svg, jpg).
        metric: the column of `metrics.csv` to draw; by default `evaluation_return`, or `return` where a run has fewer
            than five evaluations.
        labels: a label for each run, in place of what tells it from the others; runs with the same label are one line.

    Returns:
        The path of the picture.

    Raises:
        ValueError: if a folder holds no metrics or not this one, a seed of one setting is there twice, or the kind of
            picture is unknown.
    """
    output = Path(output)
    if output.suffix not in PICTURES:
        raise ValueError(f"output ({output}) must end in one of {', '.join(PICTURES)}")
    curves, metric = _read_curves(folders, metric, labels)
    environments = list(dict.fromkeys(curve.environment for curve in curves))
    figure, panels = make_panels(len(environments))
    for panel, environment in zip(panels, environments, strict=True):
        _draw(panel, curves, environment, metric)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    return output


def make_panels(number: int) -> tuple[Figure, list[Axes]]:
    """A figure with a number of panels, up to three in a row."""
    # Imported here, since it is slow to import. A `Figure` needs no display and leaves pyplot's state alone.
    from matplotlib.figure import Figure

    columns = min(number, PANELS_IN_A_ROW)
    rows = -(-number // columns)
    size = (8.0, 5.0) if number == 1 else (5.5 * columns, 4.5 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[number:]:
        panel.remove()
    return figure, list(panels[:number])


def draw_runs(
    folders: Sequence[str | Path], ax: Axes, metric: str | None = None, labels: Sequence[str] = ()
) -> list[Curve]:
    """Draw the learning curves of runs of one task into axes of your own; see `plot_runs`.

    Args:
        folders: run folders, all of one task.
        ax: matplotlib axes.
        metric: the column of `metrics.csv` to draw.
        labels: a label for each run.

    Returns:
        The curves that were drawn.

    Raises:
        ValueError: as `plot_runs` does, and if the runs are of several tasks.
    """
    curves, metric = _read_curves(folders, metric, labels)
    environments = sorted({curve.environment for curve in curves})
    if len(environments) > 1:
        raise ValueError(f"ax holds one environment, the runs are of {', '.join(environments)}: draw them one by one")
    _draw(ax, curves, environments[0], metric)
    return curves


def _read_curves(folders: Sequence[str | Path], metric: str | None, labels: Sequence[str]) -> tuple[list[Curve], str]:
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise ValueError("no run to plot: name at least one run folder")
    tables = [read_metrics(path) for path in paths]
    metric = metric or default_metric(tables)
    return group_curves(paths, tables, metric, labels), metric


def _draw(ax: Axes, curves: Sequence[Curve], environment: str, metric: str) -> None:
    """Draw the curves of one task; a label has the same color in every panel."""
    from matplotlib.ticker import EngFormatter

    labels = list(dict.fromkeys(curve.label for curve in curves))
    drawn = [curve for curve in curves if curve.environment == environment]
    for curve in drawn:
        _draw_curve(ax, curve, *color_and_style(labels.index(curve.label)))
    ax.set_title(environment)
    ax.set_xlabel("environment steps")
    ax.set_ylabel("return of training episodes" if metric == "return" else metric.replace("_", " "))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.grid(alpha=0.3)
    explanation = _explanation(drawn)
    ax.legend(title=explanation, title_fontsize="small", fontsize="small", alignment="left", edgecolor="none")


def color_and_style(index: int) -> tuple[str, LineStyle]:
    """The color and the line style of the setting with an index, in every picture."""
    return f"C{index % 10}", STYLES[index % len(STYLES)]


def as_text(label: str) -> str:
    """A label as matplotlib draws it whatever it holds: formulas between dollar signs, where they are any.

    An underscore in front would keep it out of a legend.
    """
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(label)
    except ValueError:
        label = label.replace("$", r"\$")
    return f" {label}" if label.startswith("_") else label


def _draw_curve(ax: Axes, curve: Curve, color: str, style: LineStyle) -> None:
    seeds = len(curve.values)
    # A mean over the seeds that are left would hide that one was lost: it has a gap instead.
    lost = np.isnan(curve.values).any(axis=0)
    mean, low, high = mean_interval(np.where(lost[None], np.nan, curve.values))
    marker = "o" if len(curve.steps) <= FEW_POINTS else ""
    ax.plot(curve.steps, mean, color=color, linestyle=style, marker=marker, markersize=4, label=_legend(curve))
    if seeds >= FEWEST_SEEDS_FOR_AN_INTERVAL:
        ax.fill_between(curve.steps, low, high, color=color, alpha=0.2, linewidth=0)
    elif seeds > 1:
        ax.plot(curve.steps, curve.values.T, color=color, alpha=0.45, linewidth=0.7, marker=marker, markersize=2)


def _legend(curve: Curve) -> str:
    seeds, all_seeds = len(curve.values), len(curve.values) + curve.waiting
    # A mean over the few seeds that were evaluated yet is not that of the setting.
    notes = [f"{seeds} of " * (curve.waiting > 0) + f"{all_seeds} seed{'s' * (all_seeds > 1)}"]
    if curve.cut:
        notes.append("cut where one ends")
    if np.isnan(curve.values).any():
        notes.append("gaps where one is NaN")
    if curve.unfinished:
        notes.append("evaluations too short")
    return as_text(f"{curve.label} ({', '.join(notes)})")


def _explanation(curves: Sequence[Curve]) -> str | None:
    """What lines and shades stand for."""
    several = [len(curve.values) for curve in curves if len(curve.values) > 1]
    lines = ["line: mean over seeds"] if several else []
    if any(seeds < FEWEST_SEEDS_FOR_AN_INTERVAL for seeds in several):
        lines.append("thin: single seeds")
    if any(seeds >= FEWEST_SEEDS_FOR_AN_INTERVAL for seeds in several):
        lines.append("shaded: 95 % t-interval of the mean")
    return "\n".join(lines) or None


def default_metric(tables: Sequence[dict[str, np.ndarray]]) -> str:
    """The return in evaluations, or that of training episodes where some run has but a few evaluations."""

    def fewest(metric: str) -> int:
        """The least number of steps at which a run has a value of the metric."""
        return min(len(np.unique(t["step"][~np.isnan(t[metric])])) if metric in t else 0 for t in tables)

    evaluations = fewest("evaluation_return")
    enough = evaluations >= min(FEWEST_EVALUATIONS, fewest("return"))
    return "evaluation_return" if evaluations and enough else "return"
