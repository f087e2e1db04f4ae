"""What every torso learns to remember: `python -m benchmarks.learning [--torsos gru lru]`.

PPO with the same settings for all, on two tasks: naming the card seen four steps ago, which a memory of a few steps
solves, and naming the first card of the deck all along, which takes one that lasts. Prints the mean return of the
greedy policy over the last evaluation of each seed; the best possible is 1, and guessing gives -0.5.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro

from memorax.cli.demo import demo_config
from memorax.networks import TORSOS
from memorax.training import TrainConfig, build_agent, train

TASKS = {"popgym::RepeatPreviousEasy": 0.9, "popgym::RepeatFirstEasy": 0.95}
"""The tasks, and the mean return at which a torso counts as remembering."""


@dataclass(frozen=True)
class Options:
    """What to train.

    Attributes:
        torsos: their names.
        tasks: ids of environments.
        num_seeds: agents of each kind.
        total_steps: environment steps of each.
        table: where the table goes, as Markdown; it is printed in any case.
    """

    torsos: list[str] = field(default_factory=lambda: list(TORSOS))
    tasks: list[str] = field(default_factory=lambda: list(TASKS))
    num_seeds: int = 1
    total_steps: int = 300_000
    table: Path | None = None


def settings(torso: str, task: str, num_seeds: int = 1, total_steps: int = 300_000) -> TrainConfig:
    """The agent of the demonstration, with another torso and another task."""
    return replace(demo_config(torso), environment=task, num_seeds=num_seeds, total_steps=total_steps)


def evaluation_returns(config: TrainConfig) -> np.ndarray:
    """Train, and return the greedy policy's mean return in each seed."""
    result = train(build_agent(config), config.total_steps, num_seeds=config.num_seeds, loggers=[])
    return np.asarray([row["evaluation_return"] for row in result.metrics])


def main() -> None:
    """Train and print the table, a line as soon as it is known."""
    options = tyro.cli(Options, description=__doc__)
    lines = [f"| torso | {' | '.join(options.tasks)} | minutes |", f"| --- |{' ---: |' * (len(options.tasks) + 1)}"]
    print("\n".join(lines))
    for torso in options.torsos:
        begin = time.monotonic()
        returns = []
        for task in options.tasks:
            config = settings(torso, task, options.num_seeds, options.total_steps)
            returns.append(" ".join(f"{x:.2f}" for x in evaluation_returns(config)))
        lines.append(f"| {torso} | {' | '.join(returns)} | {(time.monotonic() - begin) / 60:.1f} |")
        print(lines[-1], flush=True)
    if options.table is not None:
        options.table.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
