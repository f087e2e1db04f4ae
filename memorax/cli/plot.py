"""`memorax plot`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.evaluation.plot import plot_runs


def main(arguments: list[str]) -> int:
    """Draw the learning curves of runs."""

    def command(
        runs: tyro.conf.Positional[tuple[Path, ...]],
        output: Path = Path("learning_curve.png"),
        metric: str | None = None,
    ) -> None:
        """Draw the learning curves of runs: a line per setting, the mean over its seeds with a 95 % interval.

        Args:
            runs: their folders; those that differ only in their seeds make one line.
            output: the picture to write; png, pdf or svg by its ending.
            metric: a column of metrics.csv; by default evaluation_return, or return where a run has none.
        """
        print(plot_runs(runs, output, metric))

    tyro.cli(command, prog="memorax plot", args=arguments)
    return 0
