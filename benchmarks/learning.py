"""What every torso learns to remember: `python -m benchmarks.learning [--torsos gru lru]`.

PPO with the same settings for all, on two tasks: naming the card seen three steps ago, which a memory of a few steps
solves, and naming the first card of the deck all along, which takes one that lasts. Trains until an evaluation of the
greedy policy reaches the task's bar, and prints after how many environment steps that was; where the budget ends
first, the best mean return so far. The best possible is 1, and guessing gives -0.5.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax
import tyro

from memorax.algorithms import PPOConfig
from memorax.networks import TORSOS
from memorax.training import TrainConfig, build_agent
from memorax.training.summary import count_evaluated_episodes, summarize

TASKS = {"popgym::RepeatPreviousEasy": 0.9, "popgym::RepeatFirstEasy": 0.95}
"""The tasks, and the mean return at which a torso counts as remembering."""

BUDGET = 800_000
"""Environment steps within which a torso is to reach the bar of a task."""

OUT_OF_REACH = {"frame_stack": ("popgym::RepeatFirstEasy",)}
"""The tasks that a torso with a memory does not learn; `docs/sequence_models.md` says why."""

LEARNING_RATE = 3e-3
SMALLER_LEARNING_RATE = {"griffin": 1e-3}
"""Where the common learning rate does not let a torso settle."""

EVALUATION_INTERVAL = 20_480
"""Environment steps between two evaluations."""

EVALUATION_STEPS = 16 * 256
"""Environment steps in an evaluation: five episodes in each of 16 environments."""


@dataclass(frozen=True)
class Options:
    """What to train.

    Attributes:
        torsos: their names.
        tasks: ids of environments.
        budget: environment steps after which training ends in any case.
        seed: of the agents.
        table: where the table goes, as Markdown; it is printed in any case.
    """

    torsos: list[str] = field(default_factory=lambda: list(TORSOS))
    tasks: list[str] = field(default_factory=lambda: list(TASKS))
    budget: int = BUDGET
    seed: int = 0
    table: Path | None = None


def settings(torso: str, task: str, seed: int = 0) -> TrainConfig:
    """The agent that is trained, with any torso.

    An action changes nothing but its own reward in these tasks, so that a discount of zero leaves what is to be
    learned as it is and takes away the noise of later rewards. The agent sees where an episode starts: a memory whose
    recurrence is linear could not tell what came first.
    """
    return TrainConfig(
        environment=task,
        hyperparameters=PPOConfig(num_envs=16, num_steps=128, gamma=0.0),
        torso=torso,
        episode_start=True,
        learning_rate=SMALLER_LEARNING_RATE.get(torso, LEARNING_RATE),
        seed=seed,
    )


def learning_curve(config: TrainConfig, budget: int) -> Iterator[tuple[int, float]]:
    """Train, and every `EVALUATION_INTERVAL` steps yield how many were taken and the greedy policy's mean return."""
    agent = build_agent(config)

    @jax.jit
    def evaluate(key: jax.Array, state: object) -> jax.Array:
        episodes = count_evaluated_episodes(agent.evaluate(key, state, EVALUATION_STEPS)[1])
        return episodes.returns / episodes.count

    key, state = agent.init(jax.random.key(config.seed))
    for step in range(EVALUATION_INTERVAL, budget + 1, EVALUATION_INTERVAL):
        key, state, _ = agent.train(key, state, EVALUATION_INTERVAL, keep=summarize)
        yield step, float(evaluate(jax.random.key(step), state))


def learn(torso: str, task: str, budget: int = BUDGET, seed: int = 0) -> tuple[int | None, float]:
    """Train until the task's bar is reached.

    Returns:
        The environment steps that took, None if the budget did not suffice, and the best mean return.
    """
    best = -1.0
    for step, mean_return in learning_curve(settings(torso, task, seed), budget):
        best = max(best, mean_return)
        if mean_return >= TASKS[task]:
            return step, best
    return None, best


def main() -> None:
    """Train and print the table, a line as soon as it is known."""
    options = tyro.cli(Options, description=__doc__)
    lines = [f"| torso | {' | '.join(options.tasks)} | minutes |", f"| --- |{' ---: |' * (len(options.tasks) + 1)}"]
    print("\n".join(lines))
    for torso in options.torsos:
        begin = time.monotonic()
        cells = []
        for task in options.tasks:
            step, best = learn(torso, task, options.budget, options.seed)
            cells.append(f"{best:.2f} of {options.budget:,}" if step is None else f"{step:,}")
        lines.append(f"| {torso} | {' | '.join(cells)} | {(time.monotonic() - begin) / 60:.1f} |")
        print(lines[-1], flush=True)
    if options.table is not None:
        options.table.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
