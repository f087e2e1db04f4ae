"""The sections of a report that compare settings, over all tasks and for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from memorax.evaluation.comparison_pictures import draw_bands, draw_estimates
from memorax.evaluation.pages import Block, Heading, Paragraph, Picture, Table, svg
from memorax.evaluation.scores import Scores
from memorax.evaluation.statistics import (
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AGGREGATES: Mapping[str, Statistic] = {
    "interquartile mean": interquartile_mean,
    "median": median_score,
    "mean": mean_score,
    "optimality gap": optimality_gap,
}

DESCRIPTIONS: Mapping[str, str] = {
    "evaluation_return": ", the mean return of evaluation episodes",
    "return": ", the mean return of training episodes, in which an agent explores, and no evaluation",
}
"""What a metric is, in the words of the first paragraph."""

THRESHOLDS = 101
"""How many thresholds a performance profile has."""


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
        value += DESCRIPTIONS.get(self.metric, "")
        return [
            Heading(counted(len(scores.settings), "setting") + ", " + counted(len(scores.tasks), "task"), 1),
            Paragraph(
                f"{counted(runs, 'run')} with {counted(seeds, 'seed')}. The return of a seed is {value}; its score is "
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
        panel = {counted(len(tasks), "task"): tasks}
        return [
            *self._aggregates(tasks),
            *self._improvement(tasks),
            self._efficiency("sample_efficiency", panel),
            self._profiles("performance_profiles", panel),
        ]

    def by_task(self) -> list[Block]:
        """The scale of each task, and what each setting reached in it."""
        scores = self.scores
        panels = {task_name(task): (task,) for task in scores.tasks}
        scales = [
            (task_name(task), f"{low:.6g}", f"{high:.6g}", source)
            for task, (low, high, source) in scores.bounds.items()
        ]
        columns = ["task", "setting", "seeds", "interquartile mean", "median", "optimality gap"]
        rows = [
            [task_name(task), setting, *self._row(setting, task)]
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
            f"Scores over {counted(len(tasks), 'task')}: mean of the middle half of the runs, median and mean over "
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
        as_shares = any(self._differ_in_length(tasks) for tasks in panels.values())
        for title, setting, tasks in self._cells(panels):
            steps, values = self.scores.curves(setting, tasks, as_shares)
            if len(steps):
                drawn[title][setting] = steps, self._estimate(interquartile_mean, values)
        shares = " (as shares of the longest training in a task, since tasks differ in length)" if as_shares else ""
        caption = (
            "Sample efficiency: interquartile mean of the scores along the training, over the steps that all seeds of "
            f"a setting have{shares}. Bands: 95 % bootstrap intervals at each step."
        )
        positions = "share of a task's environment steps" if as_shares else "environment steps"
        label = "interquartile mean of scores"
        return self._picture(name, caption, draw_bands(drawn, self._indices, positions, label, in_steps=not as_shares))

    def _differ_in_length(self, tasks: Sequence[str]) -> bool:
        """Whether tasks were trained for numbers of steps that differ by more than whole rollouts make them."""
        lengths = [self.scores.length(task) for task in tasks]
        return max(lengths) > 1.1 * min(lengths)

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

    def _picture(self, name: str, caption: str, figure: Figure) -> Picture:
        return Picture(name, caption, svg(figure, name))

    @property
    def _indices(self) -> dict[str, int]:
        return {setting: index for index, setting in enumerate(self.scores.settings)}


def task_name(environment: str) -> str:
    """What a task is called in a report."""
    return environment or "a task without a name"


def counted(number: int, noun: str) -> str:
    """A number and a noun, such as "2 seeds"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _text(estimate: Estimate, number: str = ".3f") -> str:
    """An estimate and its interval, such as "0.573 [0.501, 0.669]"."""
    value, low, high = (float(bound) for bound in estimate)
    interval = "" if np.isnan(low) else f" [{low:{number}}, {high:{number}}]"
    return f"{value:{number}}{interval}"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
