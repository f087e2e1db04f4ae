"""`memorax evaluate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro

from memorax.evaluation.episodes import unfinished_warning
from memorax.evaluation.statistics import mean_interval
from memorax.training import evaluate_run


def main(arguments: list[str]) -> int:
    """Evaluate the agents of a run."""

    def command(
        run: tyro.conf.Positional[Path],
        num_steps: int | None = None,
        seed: int = 0,
        sample: tyro.conf.FlagCreatePairsOff[bool] = False,
    ) -> None:
        """Let the agents of a run act greedily in fresh environments, as they are at its last complete checkpoint.

        Args:
            run: its folder.
            num_steps: environment steps for each seed, over all environments; by default 1024 in each.
            seed: of the evaluation.
            sample: act as in training instead.
        """
        evaluation = evaluate_run(run, num_steps, seed, deterministic=not sample)
        print(f"{run} after {evaluation.step:,} steps: mean return and its 95 % interval")
        for name, returns in zip(evaluation.seeds, evaluation.returns, strict=True):
            print(f"seed {name}: {_interval(returns)} over {len(returns)} episodes")
        if len(evaluation.seeds) > 1:
            means = np.array([returns.mean() for returns in evaluation.returns])
            print(f"all: {_interval(means)} over {len(means)} seeds")
        if any(evaluation.unfinished):
            count = sum(map(len, evaluation.returns))
            print(unfinished_warning(sum(evaluation.unfinished), count, "--num-steps", evaluation.num_steps))

    tyro.cli(command, prog="memorax evaluate", args=arguments)
    return 0


def _interval(values: np.ndarray) -> str:
    mean, low, high = mean_interval(values)
    return f"{mean:.4g}" if np.isnan(low) else f"{mean:.4g} [{low:.4g}, {high:.4g}]"
