"""Statistics over seeds, learning curves, reports (`memorax.evaluation.report`) and drawn episodes (`.rendering`)."""

from __future__ import annotations

from memorax.evaluation.episodes import evaluated_episodes, mean_return
from memorax.evaluation.plot import draw_runs, plot_runs
from memorax.evaluation.runs import read_config, read_metrics
from memorax.evaluation.statistics import Interval, mean_interval

__all__ = [
    "Interval",
    "draw_runs",
    "evaluated_episodes",
    "mean_interval",
    "mean_return",
    "plot_runs",
    "read_config",
    "read_metrics",
]
