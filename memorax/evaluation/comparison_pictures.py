"""Pictures that compare settings: estimates with their intervals, and curves with their bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from memorax.evaluation.plot import as_text, color_and_style, make_panels
from memorax.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_estimates(
    settings: Sequence[str],
    estimates: Mapping[str, Mapping[str, Estimate]],
    indices: Mapping[str, int],
    probability: bool = False,
) -> Figure:
    """Draw a panel for each statistic and in it a dot for each setting, with a bar for its interval.

    Args:
        settings: labels of the settings, from the top down.
        estimates: by the name of the statistic, the estimate of each setting.
        indices: number of each setting among all of them, which gives its color.
        probability: whether to show the range from 0 to 1 with a line at one half.
    """
    from matplotlib.figure import Figure

    height = 1.1 + 0.4 * len(settings)
    figure = Figure(figsize=(max(6.0, 1.2 + 2.8 * len(estimates)), height), layout="constrained")
    panels = figure.subplots(1, len(estimates), sharey=True, squeeze=False)[0]
    for ax, (name, values) in zip(panels, estimates.items(), strict=True):
        for row, setting in enumerate(settings):
            value, low, high = values[setting]
            color, _ = color_and_style(indices[setting])
            ax.plot([low, high], [row, row], color=color, linewidth=6, alpha=0.35, solid_capstyle="butt")
            ax.plot([value], [row], color=color, marker="o", markersize=6)
        if probability:
            ax.axvline(0.5, color="0.4", linewidth=1, linestyle="--")
            ax.set_xlim(-0.02, 1.02)
        ax.set_title(name, fontsize="medium")
        ax.set_ylim(len(settings) - 0.5, -0.5)
        ax.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(settings)), [as_text(setting) for setting in settings])
    return figure


def draw_bands(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, Estimate]]],
    indices: Mapping[str, int],
    xlabel: str,
    ylabel: str,
    in_steps: bool = False,
) -> Figure:
    """Draw panels, each with a line for every setting in it and a band for its interval.

    Args:
        panels: by the title of the panel, positions `[N]` and estimates `[N]` of each setting.
        indices: number of each setting among all of them, which gives its color.
        xlabel: what the positions are.
        ylabel: what is estimated.
        in_steps: whether the positions are environment steps, shown as 10k and 1M.
    """
    from matplotlib.ticker import EngFormatter

    figure, axes = make_panels(len(panels))
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        for setting, (positions, (value, low, high)) in curves.items():
            color, style = color_and_style(indices[setting])
            ax.plot(positions, value, color=color, linestyle=style, label=as_text(setting))
            ax.fill_between(positions, low, high, color=color, alpha=0.2, linewidth=0)
        ax.set_title(title)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        if in_steps:
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.grid(alpha=0.3)
        if curves:
            title = "shaded: 95 % bootstrap interval"
            ax.legend(title=title, title_fontsize="small", fontsize="small", alignment="left", edgecolor="none")
    return figure
