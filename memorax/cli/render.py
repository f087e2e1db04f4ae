"""`memorax render`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.training import render_run
from memorax.training.options import CheckpointStep


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
        step: CheckpointStep = "last",
    ) -> None:
        """Draw an agent acting greedily in a fresh environment.

        Args:
            run: Folder of the run.
            output: File to write, a .gif or an .mp4. Default: episode.gif in the run's folder.
            seed: Seed of the agent to draw. Default: the first of the run.
            num_episodes: Number of episodes to draw.
            num_steps: Number of steps after which to stop, even in the middle of an episode.
            frames_per_second: Steps shown in a second.
            environment_seed: Random seed of the environment.
            sample: Sample actions as in training, instead of taking the best one.
            step: Checkpoint to use: the last complete one, the one with the best mean evaluation return, or that of a
                number of steps.
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
                step=step,
            )
        )

    return call_command(command, "render", arguments)
