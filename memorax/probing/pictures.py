"""Pictures of what agents remember: a panel for each environment, a line for each run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from memorax.evaluation.plot import FEW_POINTS, as_text, color_and_style, make_panels
from memorax.probing.probe import Memory, RunProbe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SHARE = 1e-3
"""The lower end of axes of shares in powers of ten; what is smaller lies on it."""


@dataclass(frozen=True)
class Line:
    """A line of a picture.

    Attributes:
        x: positions, `[N]`.
        y: values, `[N]`; NaN where there is none.
        band: how far the band around it reaches to either side, `[N]`; None for no band.
        seeds: thin lines beside it, `[S, N]`; None for no such lines.
    """

    x: np.ndarray
    y: np.ndarray
    band: np.ndarray | None = None
    seeds: np.ndarray | None = None


def draw_probes(probes: Sequence[RunProbe]) -> dict[str, Figure]:
    """Draw all probes of runs.

    Args:
        probes: what `probe_runs` returned.

    Returns:
        The pictures by name; those are left out that apply to none of the runs.
    """
    drawn = {
        "influence": _lines(probes, _influence, "steps since the input", "influence on the output", logarithmic=True),
        "episode": _episodes(probes),
        "lengths": _lines(probes, _lengths, "{option}", "mean return", marks=_trained),
        "wiped": _wiped(probes),
        "norms": _lines(probes, _norms, "step of the episode", "norm of the carry"),
        "survival": _lines(probes, _survival, "steps later", "share of the carry left", logarithmic=True),
        "time_scales": _lines(
            probes,
            _time_scales,
            "share of the carry's numbers",
            "steps until 1/e is left",
            logarithmic=True,
            share=False,
        ),
        "readout_carry": _lines(
            probes, _readout_of_carry, "steps since the observation", "{score}", base=_chance, span=(-0.03, 1.03)
        ),
        "readout_output": _lines(
            probes, _readout_of_output, "steps since the observation", "{score}", base=_chance, span=(-0.03, 1.03)
        ),
        "drift": _lines(probes, _drift, "steps since the stored carry", "distance of outputs"),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _influence(probe: RunProbe) -> Line:
    return _by_lag(probe.agent.influence.relative)


def _lengths(probe: RunProbe) -> Line | None:
    found = probe.by_length
    if found is None:
        return None
    return Line(found.values, found.returns.mean(axis=1), seeds=found.returns.T)


def _norms(probe: RunProbe) -> Line | None:
    return _of_memory(probe, lambda memory: Line(np.arange(len(memory.norm)), memory.norm, memory.norm_deviation))


def _survival(probe: RunProbe) -> Line | None:
    return _of_memory(probe, lambda memory: _by_lag(memory.survival.by_lag))


def _time_scales(probe: RunProbe) -> Line | None:
    def line(memory: Memory) -> Line:
        scales = memory.survival.time_scales
        shown = np.where(np.isfinite(scales) & (scales > 0), scales, np.nan)
        return Line((np.arange(len(scales)) + 0.5) / max(1, len(scales)), shown)

    return _of_memory(probe, line)


def _readout_of_carry(probe: RunProbe) -> Line | None:
    return _of_memory(probe, lambda memory: _by_lag(memory.readout.scores))


def _readout_of_output(probe: RunProbe) -> Line:
    return _by_lag(probe.agent.readout.scores)


def _drift(probe: RunProbe) -> Line | None:
    return None if probe.drift is None else _by_lag(probe.drift.by_step)


def _chance(probe: RunProbe) -> Line:
    return _by_lag(probe.agent.readout.chance)


def _trained(probe: RunProbe) -> float | None:
    return None if probe.by_length is None else float(probe.by_length.trained)


def _of_memory(probe: RunProbe, line: Callable[[Memory], Line]) -> Line | None:
    return None if probe.agent.memory is None else line(probe.agent.memory)


def _by_lag(values: np.ndarray) -> Line:
    return Line(np.arange(len(values)), values)


def _lines(
    probes: Sequence[RunProbe],
    line: Callable[[RunProbe], Line | None],
    xlabel: str,
    ylabel: str,
    logarithmic: bool = False,
    share: bool = True,
    base: Callable[[RunProbe], Line] | None = None,
    marks: Callable[[RunProbe], float | None] | None = None,
    span: tuple[float, float] | None = None,
) -> Figure | None:
    """A panel for each environment that some run has a line in; None where none has.

    Args:
        probes: the runs.
        line: the line of a run; None where it has none.
        xlabel: what the positions are; `{option}` is filled in.
        ylabel: what the values are; `{score}` is filled in.
        logarithmic: whether values are shown in powers of ten.
        share: whether such values are shares of 1: `LEAST_SHARE` is the lower end.
        base: a line that the others are to be compared with, drawn once in a panel.
        marks: a position that is marked, once in a panel.
        span: the values that the panel spans.
    """
    from matplotlib.ticker import MaxNLocator

    lines = {index: found for index, probe in enumerate(probes) if (found := line(probe)) is not None}
    environments = list(dict.fromkeys(probes[index].environment for index in lines))
    if not environments:
        return None
    colors = _colors(probes)
    figure, panels = make_panels(len(environments))
    for ax, environment in zip(panels, environments, strict=True):
        here = {index: found for index, found in lines.items() if probes[index].environment == environment}
        first = probes[next(iter(here))]
        for index, found in here.items():
            _draw(ax, found, colors[probes[index].label], probes[index].label, logarithmic and share)
        if base is not None:
            compared = base(first)
            ax.plot(compared.x, compared.y, color="0.4", linewidth=1, linestyle="--", label="chance")
        if marks is not None and (position := marks(first)) is not None:
            ax.axvline(position, color="0.4", linewidth=1, linestyle="--", label="in training")
        if logarithmic:
            ax.set_yscale("log")
            if share:
                ax.set_ylim(LEAST_SHARE * 0.8, 1.25 * max(1.0, ax.dataLim.y1))
                ax.set_yticks([1, 0.1, 0.01, LEAST_SHARE], ["1", "0.1", "0.01", f"\u2264 {LEAST_SHARE}"])
        if span is not None:
            ax.set_ylim(*span)
        option = "" if first.by_length is None else f"{first.by_length.option} (what must be remembered)"
        score = "share read right" if first.agent.readout.of_choices else "share of variance explained"
        ax.set_title(environment)
        ax.set_xlabel(xlabel.format(option=option))
        ax.set_ylabel(ylabel.format(score=score))
        if np.issubdtype(next(iter(here.values())).x.dtype, np.integer):
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small", edgecolor="none")
    return figure


def _draw(ax: Axes, line: Line, color_index: int, label: str, floored: bool) -> None:
    color, style = color_and_style(color_index)
    marker = "o" if len(line.x) <= FEW_POINTS + 2 else ""
    y = np.maximum(line.y, LEAST_SHARE) if floored else line.y
    ax.plot(line.x, y, color=color, linestyle=style, marker=marker, markersize=4, label=as_text(label))
    if line.band is not None:
        ax.fill_between(line.x, y - line.band, y + line.band, color=color, alpha=0.2, linewidth=0)
    if line.seeds is not None and len(line.seeds) > 1:
        ax.plot(line.x, line.seeds.T, color=color, alpha=0.45, linewidth=0.7)


def _colors(probes: Sequence[RunProbe]) -> Mapping[str, int]:
    """The number of each label among all of them: it has the same color in every panel."""
    return {label: index for index, label in enumerate(dict.fromkeys(probe.label for probe in probes))}


def _episodes(probes: Sequence[RunProbe]) -> Figure:
    """A square for each run: which inputs of one episode matter to which outputs."""
    from matplotlib.figure import Figure

    environments = list(dict.fromkeys(probe.environment for probe in probes))
    rows = [[probe for probe in probes if probe.environment == environment] for environment in environments]
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.8 * columns + 0.8, 2.9 * len(rows) + 0.2), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    image = None
    for line, row in zip(axes, rows, strict=True):
        for ax in line[len(row) :]:
            ax.remove()
        for ax, probe in zip(line, row, strict=False):
            found = probe.agent.influence
            inputs, shares = np.arange(found.episode.shape[1]), found.relative_episode
            # As pixels: thousands of squares would make the page large.
            image = ax.pcolormesh(inputs, found.times, shares, vmin=0, vmax=1, cmap="viridis", rasterized=True)
            ax.set_title(f"{as_text(probe.label)}, {probe.environment.partition('::')[2]}", fontsize="small")
            ax.set_xlabel("input at step", fontsize="small")
            ax.set_ylabel("output at step", fontsize="small")
            ax.tick_params(labelsize="small")
            ax.invert_yaxis()
            ax.set_aspect("equal")
    assert image is not None
    figure.colorbar(image, ax=figure.axes, label="influence, of the row's largest", shrink=0.8)
    return figure


def _wiped(probes: Sequence[RunProbe]) -> Figure | None:
    """Dots for the returns of each run with its memory and without."""
    from matplotlib.figure import Figure

    environments = list(dict.fromkeys(probe.environment for probe in probes if probe.wiped is not None))
    if not environments:
        return None
    colors = _colors(probes)
    most = max(sum(probe.environment == environment for probe in probes) for environment in environments)
    figure = Figure(figsize=(max(6.0, 4.6 * len(environments) + 0.8), 1.4 + 0.5 * most), layout="constrained")
    for ax, environment in zip(figure.subplots(1, len(environments), squeeze=False)[0], environments, strict=True):
        here = [probe for probe in probes if probe.environment == environment]
        for row, probe in enumerate(here):
            color, _ = color_and_style(colors[probe.label])
            _dots(ax, probe.returns.by_seed, row, color, filled=True)
            if probe.wiped is not None:
                _dots(ax, probe.wiped.by_seed, row, color, filled=False)
                ends = (probe.wiped.by_seed.mean(), probe.returns.by_seed.mean())
                ax.plot(ends, (row, row), color=color, linewidth=1.5, alpha=0.5, zorder=1)
        ax.plot([], [], color="0.3", marker="o", linestyle="", label="as it is")
        ax.plot([], [], color="0.3", marker="o", linestyle="", markerfacecolor="white", label="carry wiped")
        ax.set_yticks(range(len(here)), [as_text(probe.label) for probe in here])
        ax.set_ylim(len(here) - 0.4, -0.6)
        ax.set_title(environment)
        ax.set_xlabel("mean return of each seed")
        ax.grid(axis="x", alpha=0.3)
        ax.legend(fontsize="small", edgecolor="none")
    return figure


def _dots(ax: Axes, values: np.ndarray, row: int, color: str, filled: bool) -> None:
    face = color if filled else "white"
    ax.plot(values, np.full(len(values), row), color=color, marker="o", linestyle="", markerfacecolor=face)
