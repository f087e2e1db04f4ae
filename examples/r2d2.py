"""R2D2 replays sequences with the memory they were acted with, and learns to find its way in a T-maze.

A sign at the start says which way to turn ten steps later: 1 for the right one, 0.5 on average without memory. With
these settings three seeds of three had 1 from 45,504 steps on, after a minute side by side on two shared cores.
`python examples/r2d2.py --total-steps 60000`
"""

from __future__ import annotations

import jax
import tyro

from memorax.algorithms import R2D2Config
from memorax.evaluation import mean_return
from memorax.training import TrainConfig, build_agent


def settings(torso: str = "gru", features: int = 64, learning_starts: int = 5_000) -> TrainConfig:
    """What is trained."""
    hyperparameters = R2D2Config(
        num_envs=16,
        num_steps=12,
        gamma=0.98,
        num_updates=6,
        learning_starts=learning_starts,
        target_update_period=100,
        buffer_size=50_000,
        sequence_length=24,  # a whole episode, wherever it begins
        burn_in=12,  # steps that rebuild the memory from the stored one, without a gradient
        period=12,  # sequences overlap by half
        carry="stored",
    )
    return TrainConfig(
        environment="memory::TMaze",
        algorithm="r2d2",
        hyperparameters=hyperparameters,
        torso=torso,
        features=features,
        learning_rate=1e-3,
    )


def main(total_steps: int = 60_000, torso: str = "gru", features: int = 64, learning_starts: int = 5_000) -> float:
    """Train, and return the mean return of the greedy policy.

    Args:
        total_steps: Environment steps.
        torso: Name of the memory.
        features: Width of encoder and memory.
        learning_starts: Environment steps before the first update.
    """
    agent = build_agent(settings(torso, features, learning_starts))
    key, state = agent.init(jax.random.key(0))
    rounds, result = 5, 0.0
    for _ in range(rounds):
        key, state, metrics = agent.train(key, state, -(-total_steps // rounds), keep=keep_metrics)
        key, transitions = agent.evaluate(key, state, 16 * 44)
        result, drift = float(mean_return(transitions)), float(metrics["carry_drift"][-1])
        print(
            f"{int(state.step):>7,} steps: mean return {result:.2f}, stored memories are off by {drift:.3f}", flush=True
        )
    return result


def keep_metrics(transition: object, metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """What `train` keeps of an iteration."""
    return metrics


if __name__ == "__main__":
    tyro.cli(main)
