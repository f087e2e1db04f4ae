"""`memorax plot`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.evaluation.plot import plot_runs


def main(arguments: list[str]) -> int:
    """Draw the learning curves of runs."""

    def command(
        runs: tyro.conf.Positional[tuple[Path, ...]],
        output: Path = Path("learning_curve.png"),
        metric: str | None = None,
        label: tuple[str, ...] = (),
    ) -> None:
        """Draw the learning curves of runs: a panel for each task, a line for each setting.

        A task is an environment and its options.

        A line is the mean over the seeds of a setting. Fewer than five seeds are drawn as thin lines beside it, more as
        the shaded 95 % confidence interval of the mean (Student's t).

        Args:
            runs: Folders of the runs; runs that differ only in their seeds are one line.
            output: Picture to write; its ending (.png, .pdf, .svg, .jpg) selects the format.
            metric: Column of metrics.csv to draw. Default: evaluation_return, or return where a run has fewer than
                five evaluations.
            label: One label for each run, in the order of the runs; runs with the same label are one line. Default:
                the settings that differ between the runs.
        """
        print(plot_runs(runs, output, metric, label))

    return call_command(command, "plot", arguments)
