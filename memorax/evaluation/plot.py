"""Learning curves of runs: one line per setting, the mean over seeds with its 95 % interval."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memorax.evaluation.runs import read_config, read_metrics
from memorax.evaluation.statistics import mean_interval

SAME_SETTING = ("seed", "num_seeds", "loggers", "checkpoint_seconds")
"""Settings in which runs of one line may differ."""

PICTURES = (".png", ".pdf", ".svg", ".jpg")


@dataclass(frozen=True)
class Curve:
    """A line of the plot.

    Attributes:
        label: what tells it from the others.
        steps: environment steps `[N]`.
        values: `[seeds, N]`, NaN where a seed has no value.
    """

    label: str
    steps: np.ndarray
    values: np.ndarray


def plot_runs(folders: Sequence[str | Path], output: str | Path, metric: str | None = None) -> Path:
    """Draw the learning curves of runs.

    Runs that differ only in their seeds make one line: the mean over seeds, shaded with its 95 % confidence interval
    (Student's t).

    Args:
        folders: run folders.
        output: the picture to write; its ending says of what kind (png, pdf, svg).
        metric: the column of `metrics.csv` to draw; by default `evaluation_return`, or `return` where a run has none.

    Returns:
        The path of the picture.

    Raises:
        ValueError: if a folder holds no metrics or not this one, or if the kind of picture is unknown.
    """
    # Here rather than above: they are slow to import. The figure draws without a display and without pyplot's state.
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    paths = [Path(folder) for folder in folders]
    if not paths:
        raise ValueError("no run to plot: name at least one run folder")
    tables = [read_metrics(path) for path in paths]
    metric = metric or _default_metric(tables)
    curves = group_curves(paths, tables, metric)
    output = Path(output)
    if output.suffix not in PICTURES:
        raise ValueError(f"output ({output}) must end in one of {', '.join(PICTURES)}")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        interval = mean_interval(curve.values)
        seeds = len(curve.values)
        (line,) = axes.plot(curve.steps, interval.mean, label=f"{curve.label} ({seeds} seed{'s' * (seeds > 1)})")
        axes.fill_between(curve.steps, interval.low, interval.high, color=line.get_color(), alpha=0.2, linewidth=0)
    configs = [read_config(path)["config"] for path in paths]
    axes.set_title(", ".join(sorted({config["environment"] for config in configs if "environment" in config})))
    axes.set_xlabel("environment steps")
    axes.set_ylabel(metric.replace("_", " "))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    return output


def group_curves(folders: Sequence[Path], tables: Sequence[dict[str, np.ndarray]], metric: str) -> list[Curve]:
    """Put runs that differ only in their seeds together, and label each setting by what tells it from the others."""
    settings = [_setting(read_config(folder)["config"], folder) for folder in folders]
    groups: dict[str, list[int]] = {}
    for index, setting in enumerate(settings):
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(index)
    labels = _labels([settings[indices[0]] for indices in groups.values()])
    curves = []
    for label, indices in zip(labels, groups.values(), strict=True):
        seeds = []
        for index in indices:
            table = tables[index]
            if metric not in table:
                raise ValueError(f"{folders[index]} has no metric {metric!r}: choose from {', '.join(table)}")
            present = ~np.isnan(table[metric])
            for seed in np.unique(table["seed"]):
                chosen = present & (table["seed"] == seed)
                seeds.append(dict(zip(table["step"][chosen], table[metric][chosen], strict=True)))
        steps = sorted(set().union(*seeds))
        values = np.array([[seed.get(step, np.nan) for step in steps] for seed in seeds])
        curves.append(Curve(label, np.array(steps), values.reshape(len(seeds), len(steps))))
    return curves


def _default_metric(tables: Sequence[dict[str, np.ndarray]]) -> str:
    name = "evaluation_return"
    evaluated = all(name in table and not np.isnan(table[name]).all() for table in tables)
    return name if evaluated else "return"


def _setting(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a run but its seeds, nested ones flat; of an agent made by hand, its folder."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name == "hyperparameters":
            flat.update(value)
        elif name not in SAME_SETTING:
            flat[name] = value
    return flat or {"run": folder.name}


def _labels(settings: Sequence[dict[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    told_apart = [n for n in names if len({json.dumps(setting.get(n)) for setting in settings}) > 1]
    if not told_apart:
        told_apart = [name for name in ("algorithm", "torso", "run") if name in names]
    return [", ".join(_named(name, setting[name]) for name in told_apart if name in setting) for setting in settings]


def _named(name: str, value: Any) -> str:
    speaks_for_itself = name in ("algorithm", "torso", "environment", "run")
    return str(value) if speaks_for_itself else f"{name.replace('_', ' ')} {value}"
