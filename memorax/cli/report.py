"""`memorax report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.evaluation.report import write_report
from memorax.evaluation.statistics import RESAMPLES


def main(arguments: list[str]) -> int:
    """Write a report of runs."""

    def command(
        runs: tyro.conf.Positional[tuple[Path, ...]],
        output: Path = Path("report"),
        metric: str | None = None,
        label: tuple[str, ...] = (),
        normalize: tuple[str, ...] = (),
        reference: str | None = None,
        last: int = 1,
        resamples: int = RESAMPLES,
    ) -> None:
        """Write a report of runs that can be published: report.md, and report.html in one file.

        It has interquartile means, medians, optimality gaps and probabilities of improvement with stratified bootstrap
        intervals, sample-efficiency curves and performance profiles, over all tasks and for each of them, and says how
        every run was made.

        Args:
            runs: Folders of the runs; runs that differ only in their seeds are one setting.
            output: Folder to write to.
            metric: Column of metrics.csv to report. Default: evaluation_return, or return (of training episodes)
                where a run has no evaluation.
            label: One label for each run, in the order of the runs; runs of one task (an environment and its
                options) with the same label are one setting. Default: the settings that differ between the runs.
            normalize: Returns that scores 0 and 1 stand for, each as NAME=LOW,HIGH; NAME is a task or the beginning of
                tasks, such as an environment's id. Default: the known bounds of popgym:: and memory::, and the range of
                the runs elsewhere.
            reference: Label of the setting that the others are compared with. Default: that of the first run.
            last: Number of last evaluations of a seed that its return is the mean of.
            resamples: Number of bootstrap resamples for each interval.
        """
        print(write_report(runs, output, metric, label, parse_bounds(normalize), reference, last, resamples))

    return call_command(command, "report", arguments)


def parse_bounds(words: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Read words NAME=LOW,HIGH.

    Raises:
        ValueError: if one is not of this form.
    """
    bounds = {}
    for word in words:
        name, _, numbers = word.rpartition("=")
        try:
            low, high = map(float, numbers.split(","))
        except ValueError:
            name = ""
        if not name:
            raise ValueError(f"normalize ({word}) must be NAME=LOW,HIGH, such as gymnax::CartPole-v1=0,500")
        bounds[name] = low, high
    return bounds
