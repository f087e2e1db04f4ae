"""`memorax render`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.training import render_run


def main(arguments: list[str]) -> int:
    """Draw an agent of a run while it acts."""

    def command(
        run: tyro.conf.Positional[Path],
        output: Path | None = None,
        seed: int | None = None,
        num_episodes: int = 1,
        num_steps: int = 1000,
        frames_per_second: float = 10.0,
        environment_seed: int = 0,
        sample: tyro.conf.FlagCreatePairsOff[bool] = False,
    ) -> None:
        """Draw an agent while it acts greedily in a fresh environment, as it is at its last complete checkpoint.

        Args:
            run: the folder of its run.
            output: the file to write, gif or mp4 by its ending; by default episode.gif in the folder of the run.
            seed: which of the run's agents, by its seed; by default the first.
            num_episodes: how many episodes.
            num_steps: steps after which to stop in any case.
            frames_per_second: how fast it plays.
            environment_seed: of the environment.
            sample: act as in training instead.
        """
        print(
            render_run(
                run,
                output,
                seed,
                num_episodes,
                num_steps,
                frames_per_second,
                environment_seed,
                deterministic=not sample,
            )
        )

    tyro.cli(command, prog="memorax render", args=arguments)
    return 0
