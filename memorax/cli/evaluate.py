"""`memorax evaluate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro

from memorax.cli.arguments import call_command
from memorax.evaluation.episodes import unfinished_warning
from memorax.evaluation.statistics import interval_text
from memorax.training import evaluate_run
from memorax.training.options import CheckpointStep


def main(arguments: list[str]) -> int:
    """Evaluate the agents of a run."""

    def command(
        run: tyro.conf.Positional[Path],
        num_steps: int | None = None,
        seed: int = 0,
        sample: tyro.conf.FlagCreatePairsOff[bool] = False,
        step: CheckpointStep = "last",
    ) -> None:
        """Measure the returns of a run's agents.

        The agents act greedily in fresh environments. Each agent's mean is printed with a 95 % interval over episodes,
        and the mean over agents with a 95 % interval over seeds.

        Args:
            run: Folder of the run.
            num_steps: Environment steps for each agent, over all its environments. Default: 1024 in each environment.
            seed: Random seed of the evaluation.
            sample: Sample actions as in training, instead of taking the best one.
            step: Checkpoint to use: the last complete one, the one with the best mean evaluation return, or that of a
                number of steps.
        """
        evaluation = evaluate_run(run, num_steps, seed, deterministic=not sample, step=step)
        print(f"{run} after {evaluation.step:,} steps: mean return and its 95 % interval")
        for name, returns in zip(evaluation.seeds, evaluation.returns, strict=True):
            print(f"seed {name}: {interval_text(returns)} over {len(returns)} episodes")
        if len(evaluation.seeds) > 1:
            means = np.array([returns.mean() for returns in evaluation.returns])
            print(f"all: {interval_text(means)} over {len(means)} seeds")
        if any(evaluation.unfinished):
            count = sum(map(len, evaluation.returns))
            print(unfinished_warning(sum(evaluation.unfinished), count, "--num-steps", evaluation.num_steps))

    return call_command(command, "evaluate", arguments)
