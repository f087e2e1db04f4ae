"""A report of runs that can be published: statistics with intervals, pictures, and how each run was made."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from memorax.evaluation.comparison_pictures import draw_bands, draw_estimates
from memorax.evaluation.curves import Group, group_runs
from memorax.evaluation.pages import Block, Code, Heading, Items, Paragraph, Picture, Table, markdown, svg, webpage
from memorax.evaluation.plot import default_metric
from memorax.evaluation.runs import read_config, read_metrics
from memorax.evaluation.scores import Scores, score_runs
from memorax.evaluation.statistics import (
    RESAMPLES,
    Estimate,
    Statistic,
    bootstrap_improvement,
    interquartile_mean,
    mean_score,
    median_score,
    optimality_gap,
    scores_above,
    stratified_bootstrap,
)
from memorax.version import __version__

MARKDOWN_FILE, WEBPAGE_FILE, PICTURES_FOLDER = "report.md", "report.html", "pictures"

AGGREGATES: Mapping[str, Statistic] = {
    "interquartile mean": interquartile_mean,
    "median": median_score,
    "mean": mean_score,
    "optimality gap": optimality_gap,
}

THRESHOLDS = 101
"""How many thresholds a performance profile has."""

NOT_RECORDED = "not recorded"

FEW_SEEDS = 5
"""With fewer seeds in a task, percentile bootstrap intervals are known to be too narrow, and the report says so."""


@dataclass(frozen=True)
class Run:
    """What a report says of a run: its folder, `config.json` and the table of its metrics."""

    folder: Path
    content: Mapping[str, Any]
    table: Mapping[str, np.ndarray]

    @property
    def total_steps(self) -> int:
        """Environment steps that were planned, 0 where that was not said."""
        return int(self.content.get("total_steps", self.content["config"].get("total_steps", 0)))

    @property
    def steps(self) -> int:
        """Environment steps that were taken."""
        return int(self.table["step"].max())

    @property
    def origins(self) -> list[Mapping[str, Any]]:
        """The surroundings in which the run was begun and resumed."""
        return [origin for origin in (self.content.get("origin"), *self.content.get("resumed", ())) if origin]


def write_report(
    folders: Sequence[str | Path],
    output: str | Path,
    metric: str | None = None,
    labels: Sequence[str] = (),
    bounds: Mapping[str, tuple[float, float]] | None = None,
    reference: str | None = None,
    last: int = 1,
    resamples: int = RESAMPLES,
) -> Path:
    """Write a report of runs as `report.md`, with pictures beside it, and as `report.html`, one file with everything.

    Runs that differ only in their seeds are one setting. The return of a seed is the mean of its last values of the
    metric; scores are returns on one scale for all tasks. Aggregates are over the tasks that every setting has.

    Args:
        folders: run folders.
        output: the folder to write to.
        metric: the column of `metrics.csv` to report; by default `evaluation_return`, or `return` where a run has fewer
            than three evaluations.
        labels: a label for each run, in place of what tells it from the others; runs of one environment with the same
            label are one setting.
        bounds: the returns that scores 0 and 1 stand for, by an environment's id or the beginning of ids; see
            `score_runs`.
        reference: label of the setting that the others are compared with; by default that of the first run.
        last: how many of the last values of a seed its return is the mean of.
        resamples: how many times runs are drawn again for the intervals.

    Returns:
        The path of the HTML page.

    Raises:
        ValueError: if a folder holds no metrics or not this one, a seed of one setting is there twice, no setting has
            the label `reference`, or bounds are not valid.
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise ValueError("no run to report: name at least one run folder")
    if resamples < 1:
        raise ValueError(f"resamples ({resamples}) must be a positive number")
    tables = [read_metrics(path) for path in paths]
    runs = [Run(path, read_config(path), table) for path, table in zip(paths, tables, strict=True)]
    metric = metric or default_metric(tables)
    groups = group_runs(paths, tables, metric, labels)
    scores = score_runs(groups, bounds or {}, last)
    reference = scores.settings[0] if reference is None else reference
    if reference not in scores.settings:
        raise ValueError(f"reference ({reference}) must be the label of a setting: {'; '.join(scores.settings)}")
    comparison = Comparison(scores, metric, reference, resamples)
    blocks = [
        *comparison.opening(len(runs)),
        *comparison.aggregated(),
        *comparison.by_task(),
        *_how_runs_were_made(runs, groups),
        Heading("Notes"),
        Items(_notes(runs, groups, scores)),
    ]
    return _write(Path(output), blocks)


@dataclass(frozen=True)
class Comparison:
    """The sections of a report that compare settings.

    Attributes:
        scores: the scores of all settings.
        metric: what their returns are.
        reference: label of the setting that the others are compared with.
        resamples: how many times runs are drawn again for an interval.
    """

    scores: Scores
    metric: str
    reference: str
    resamples: int

    def opening(self, runs: int) -> list[Block]:
        """What was compared, and what the numbers mean."""
        scores = self.scores
        seeds = sum(len(group.seeds) for group in scores.groups.values())
        value = f"its last {self.metric}" if scores.last == 1 else f"the mean of its last {scores.last} {self.metric}"
        return [
            Heading(_count(len(scores.settings), "setting") + ", " + _count(len(scores.tasks), "task"), 1),
            Paragraph(
                f"{_count(runs, 'run')} with {_count(seeds, 'seed')}. The return of a seed is {value}; its score is "
                "the return on a scale from 0 to 1 for each task (Tasks, below). Brackets, bars and bands are 95 % "
                f"intervals by stratified percentile bootstrap ({self.resamples} resamples, random seed 0): the seeds "
                "of each task are drawn again, the tasks are taken as given. The estimates are those of Agarwal et "
                "al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, 2021."
            ),
        ]

    def aggregated(self) -> list[Block]:
        """Aggregates, probabilities of improvement, curves and profiles over the tasks that all settings have."""
        tasks = self.scores.common_tasks
        if not tasks:
            text = "No task has runs of every setting: there is nothing to aggregate."
            return [Heading("All tasks"), Paragraph(text)]
        panel = {_count(len(tasks), "task"): tasks}
        return [
            *self._aggregates(tasks),
            *self._improvement(tasks),
            self._efficiency("sample_efficiency", panel),
            self._profiles("performance_profiles", panel),
        ]

    def by_task(self) -> list[Block]:
        """The scale of each task, and what each setting reached in it."""
        scores = self.scores
        panels = {_task(task): (task,) for task in scores.tasks}
        scales = [
            (_task(task), f"{low:.6g}", f"{high:.6g}", source) for task, (low, high, source) in scores.bounds.items()
        ]
        columns = ["task", "setting", "seeds", "interquartile mean", "median", "optimality gap"]
        rows = [
            [_task(task), setting, *self._row(setting, task)]
            for task in scores.tasks
            for setting in scores.settings
            if (setting, task) in scores.groups
        ]
        if len(scores.settings) > 1:
            columns.append(f"probability of improvement over {self.reference}")
        return [
            Heading("Tasks"),
            Table(("task", "return of score 0", "return of score 1", "where from"), scales),
            Paragraph("Interquartile means and medians are those of the returns of a task's seeds, not scaled."),
            Table(columns, rows),
            self._efficiency("sample_efficiency_by_task", panels),
            self._profiles("performance_profiles_by_task", panels),
        ]

    def _row(self, setting: str, task: str) -> list[str]:
        """Seeds, interquartile mean, median, optimality gap and probability of improvement of a setting in a task."""
        returns = [self.scores.returns(setting, task)]
        row = [
            str(len(returns[0])),
            _text(self._estimate(interquartile_mean, returns), ".4g"),
            _text(self._estimate(lambda drawn: np.median(drawn[0], axis=-1), returns), ".4g"),
            _text(self._estimate(optimality_gap, self.scores.scores(setting, [task]))),
        ]
        if len(self.scores.settings) > 1:
            compared = setting != self.reference and (self.reference, task) in self.scores.groups
            row.append(_text(self._improved(setting, [task])) if compared else "")
        return row

    def _aggregates(self, tasks: Sequence[str]) -> list[Block]:
        settings = self.scores.settings
        scores = {setting: self.scores.scores(setting, tasks) for setting in settings}
        estimates = {
            name: {setting: self._estimate(statistic, scores[setting]) for setting in settings}
            for name, statistic in AGGREGATES.items()
        }
        rows = [
            [setting, _range([len(runs) for runs in scores[setting]])]
            + [_text(values[setting]) for values in estimates.values()]
            for setting in settings
        ]
        caption = (
            f"Scores over {_count(len(tasks), 'task')}: mean of the middle half of the runs, median and mean over "
            "tasks, and how far scores fall short of 1 (less is better). Bars: 95 % bootstrap intervals."
        )
        return [
            Heading("All tasks"),
            Table(("setting", "seeds in each task", *AGGREGATES), rows),
            self._picture("aggregates", caption, draw_estimates(settings, estimates, self._indices)),
        ]

    def _improvement(self, tasks: Sequence[str]) -> list[Block]:
        others = [setting for setting in self.scores.settings if setting != self.reference]
        if not others:
            return []
        estimates = {setting: self._improved(setting, tasks) for setting in others}
        name = f"probability of improvement over {self.reference}"
        caption = (
            f"How likely a run of a setting scores higher than one of {self.reference} in the same task, mean over "
            "tasks; ties count one half. Bars: 95 % bootstrap intervals; dashed: no difference."
        )
        figure = draw_estimates(others, {name: estimates}, self._indices, probability=True)
        return [
            Table(("setting", name), [(setting, _text(estimate)) for setting, estimate in estimates.items()]),
            self._picture("improvement", caption, figure),
        ]

    def _efficiency(self, name: str, panels: Mapping[str, Sequence[str]]) -> Picture:
        """Sample-efficiency curves: a panel for each group of tasks, by its title."""
        drawn: dict[str, dict[str, tuple[np.ndarray, Estimate]]] = {title: {} for title in panels}
        for title, setting, tasks in self._cells(panels):
            steps, values = self.scores.curves(setting, tasks)
            if len(steps):
                drawn[title][setting] = steps, self._estimate(interquartile_mean, values)
        caption = (
            "Sample efficiency: interquartile mean of the scores along the training, over the steps that all seeds of "
            "a setting have. Bands: 95 % bootstrap intervals at each step."
        )
        label = "interquartile mean of scores"
        return self._picture(name, caption, draw_bands(drawn, self._indices, "environment steps", label, in_steps=True))

    def _profiles(self, name: str, panels: Mapping[str, Sequence[str]]) -> Picture:
        """Performance profiles: a panel for each group of tasks, by its title."""
        scores = {(title, setting): self.scores.scores(setting, tasks) for title, setting, tasks in self._cells(panels)}
        everything = np.concatenate([runs for tasks in scores.values() for runs in tasks])
        thresholds = np.linspace(min(0.0, everything.min()), max(1.0, everything.max()), THRESHOLDS)
        drawn: dict[str, dict[str, tuple[np.ndarray, Estimate]]] = {title: {} for title in panels}
        for (title, setting), runs in scores.items():
            drawn[title][setting] = thresholds, self._estimate(mean_score, scores_above(runs, thresholds))
        caption = (
            "Performance profiles: share of the runs that score above a threshold, mean over tasks; higher is better. "
            "Bands: 95 % bootstrap intervals at each threshold."
        )
        return self._picture(name, caption, draw_bands(drawn, self._indices, "score", "share of runs above it"))

    def _cells(self, panels: Mapping[str, Sequence[str]]) -> list[tuple[str, str, Sequence[str]]]:
        """Title, setting and tasks for each setting that has runs in the tasks of a panel."""
        return [
            (title, setting, tasks)
            for title, tasks in panels.items()
            for setting in self.scores.settings
            if all((setting, task) in self.scores.groups for task in tasks)
        ]

    def _improved(self, setting: str, tasks: Sequence[str]) -> Estimate:
        both = self.scores.scores(setting, tasks), self.scores.scores(self.reference, tasks)
        return bootstrap_improvement(*both, resamples=self.resamples)

    def _estimate(self, statistic: Statistic, scores: Sequence[np.ndarray]) -> Estimate:
        return stratified_bootstrap(statistic, scores, resamples=self.resamples)

    def _picture(self, name: str, caption: str, figure: Any) -> Picture:
        return Picture(name, caption, svg(figure, name))

    @property
    def _indices(self) -> dict[str, int]:
        return {setting: index for index, setting in enumerate(self.scores.settings)}


def _how_runs_were_made(runs: Sequence[Run], groups: Sequence[Group]) -> list[Block]:
    """A table of the runs, the commands, and the versions and machines they ran on."""
    group_of = {seed.folder: group for group in groups for seed in group.seeds}
    columns = ("run", "task", "setting", "seeds", "environment steps", "parameters", "wall time", "begun", "device")
    rows = [
        (
            str(run.folder),
            _task(group_of[run.folder].environment),
            group_of[run.folder].label,
            ", ".join(str(seed.seed) for seed in group_of[run.folder].seeds if seed.folder == run.folder),
            f"{run.steps:,}",
            ", ".join(f"{name} {count:,}" for name, count in run.content.get("parameters", {}).items()) or NOT_RECORDED,
            _duration(float(np.nanmax(run.table["seconds"]))),
            _recorded(run, "date"),
            _recorded(run, "device"),
        )
        for run in runs
    ]
    commands = [f"# {run.folder}\n" + "\n".join(_commands(run)) for run in runs]
    return [
        Heading("How the runs were made"),
        Paragraph("Environment steps are of each seed; parameters are those of each network of one seed."),
        Table(columns, rows),
        Heading("Commands", 3),
        Code("\n".join(commands)),
        Heading("Versions and hardware", 3),
        Items([*_shared_by(runs, _versions), *_shared_by(runs, _hardware)]),
        Heading("This report", 3),
        Code(f"{shlex.join(sys.argv)}\n# memorax {__version__}, numpy {np.__version__}, scipy {scipy.__version__}"),
    ]


def _commands(run: Run) -> list[str]:
    return list(dict.fromkeys(str(origin.get("command")) for origin in run.origins)) or ["# command not recorded"]


def _versions(origin: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in origin.get("versions", {}).items())
    return f"{versions or 'versions not recorded'}; commit {origin.get('commit') or 'not recorded'}"


def _hardware(origin: Mapping[str, Any]) -> str:
    return f"{origin.get('device', 'device not recorded')}; {origin.get('machine', 'machine not recorded')}"


def _shared_by(runs: Sequence[Run], describe: Callable[[Mapping[str, Any]], str]) -> list[str]:
    """Each description once, with the runs that it is of unless it is of all."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for text in dict.fromkeys(describe(origin) for origin in run.origins or [{}]):
            found.setdefault(text, []).append(str(run.folder))
    if len(found) == 1:
        return list(found)
    return [f"{text}: {', '.join(folders)}" for text, folders in found.items()]


def _recorded(run: Run, name: str) -> str:
    return " then ".join(dict.fromkeys(str(origin[name]) for origin in run.origins if name in origin)) or NOT_RECORDED


def _notes(runs: Sequence[Run], groups: Sequence[Group], scores: Scores) -> list[str]:
    """What a reader must know before believing the numbers."""
    notes = [
        f"{run.folder} ended at step {run.steps:,} of {run.total_steps:,}: its seeds count with what they had reached."
        for run in runs
        if run.steps < run.total_steps
    ]
    for group in groups:
        of = f"{group.label} in {_task(group.environment)}"
        if waiting := [str(seed.seed) for seed in group.seeds if not len(seed.steps)]:
            notes.append(f"{of}: {_named_seeds(waiting)} had no value yet and are left out.")
        if lost := [str(seed.seed) for seed in group.seeds if not np.isfinite(seed.values[-scores.last :]).all()]:
            notes.append(f"{of}: {_named_seeds(lost)} ended in NaN or infinity and count with a score of 0.")
        if any(seed.unfinished for seed in group.seeds):
            notes.append(f"{of}: evaluations were too short, and episodes count with the return they had reached.")
    notes += _missing(scores)
    for setting in scores.settings:
        settings = [s for (label, _), group in scores.groups.items() if label == setting for s in group.settings]
        if differing := _differing(settings):
            notes.append(f"{setting}: its runs differ in {', '.join(differing)}.")
    derived = [_task(task) for task, bounds in scores.bounds.items() if bounds.source not in ("given", "known")]
    if derived:
        notes.append(
            f"The scale of {', '.join(derived)} is the range of these runs: its scores compare with no other report."
        )
    return notes or ["Every setting has as many seeds in every task, and every run is complete."]


def _missing(scores: Scores) -> list[str]:
    """Notes on tasks without runs of a setting, and on numbers of seeds that are small or unlike each other."""
    notes = []
    for setting in scores.settings:
        if absent := [_task(task) for task in scores.tasks if (setting, task) not in scores.groups]:
            notes.append(f"{setting} has no runs in {', '.join(absent)}: the aggregates leave these tasks out.")
    counts = {key: len(group.seeds) for key, group in scores.groups.items()}
    most = max(counts.values())
    for (setting, task), count in counts.items():
        if count < most:
            notes.append(f"{setting} has {_count(count, 'seed')} in {_task(task)}, where others have up to {most}.")
    if min(counts.values()) == 1:
        notes.append("A single seed gives no interval, neither of its task nor of what it is aggregated into.")
    elif min(counts.values()) < FEW_SEEDS:
        notes.append(f"With fewer than {FEW_SEEDS} seeds in a task, bootstrap intervals of that task are too narrow.")
    return notes


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of settings in which runs differ."""
    names = dict.fromkeys(name for setting in settings for name in setting if name != "run")
    return [
        name.replace("_", " ") for name in names if len({json.dumps(setting.get(name)) for setting in settings}) > 1
    ]


def _write(output: Path, blocks: Sequence[Block]) -> Path:
    pictures = output / PICTURES_FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Picture):
            (pictures / f"{block.name}.svg").write_text(block.svg, encoding="utf-8")
    (output / MARKDOWN_FILE).write_text(markdown(blocks, PICTURES_FOLDER), encoding="utf-8")
    page = output / WEBPAGE_FILE
    page.write_text(webpage("Memorax report", blocks), encoding="utf-8")
    return page


def _text(estimate: Estimate, number: str = ".3f") -> str:
    """An estimate and its interval, such as "0.573 [0.501, 0.669]"."""
    value, low, high = (float(bound) for bound in estimate)
    interval = "" if np.isnan(low) else f" [{low:{number}}, {high:{number}}]"
    return f"{value:{number}}{interval}"


def _task(environment: str) -> str:
    return environment or "a task without a name"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _named_seeds(seeds: Sequence[str]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
