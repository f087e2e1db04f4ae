"""`memorax resume`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.train import report
from memorax.training import resume_run


def main(arguments: list[str]) -> int:
    """Go on with a run."""

    def command(run: tyro.conf.Positional[Path], total_steps: int | None = None) -> None:
        """Go on with a run from its last complete checkpoint.

        Args:
            run: its folder.
            total_steps: train for longer than planned: environment steps in each seed from the beginning.
        """
        report(run, resume_run(run, total_steps).metrics)

    tyro.cli(command, prog="memorax resume", args=arguments)
    return 0
