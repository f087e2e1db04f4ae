"""Recurrent SAC swings up a pendulum whose velocity it does not see.

The angle alone does not say which way it turns: a GRU has to tell from the angles before. Random play returns about
-1200, a good policy about -150. `python examples/recurrent_sac.py --total-steps 30000`
"""

from __future__ import annotations

import jax
import tyro

from memorax.algorithms import SACConfig
from memorax.evaluation import mean_return
from memorax.training import TrainConfig, build_agent


def main(total_steps: int = 30_000, torso: str = "gru", features: int = 64, warmup_steps: int = 1_000) -> float:
    """Train, and return the mean return of the greedy policy.

    Args:
        total_steps: Environment steps.
        torso: Name of the memory; mlp has none and fails.
        features: Width of the networks.
        warmup_steps: Steps of exploration in the replay buffer before learning begins.
    """
    hyperparameters = SACConfig(
        num_envs=4,
        num_steps=8,
        num_updates=8,  # after each 32 environment steps
        batch_size=32,  # sequences
        sequence_length=16,
        gamma=0.95,
    )
    config = TrainConfig(
        environment="gymnax::Pendulum-v1",
        environment_options={"mask_observation": (0, 1)},  # cosine and sine of the angle, and no velocity
        algorithm="sac",
        hyperparameters=hyperparameters,
        torso=torso,
        features=features,
        previous_action=True,
        learning_rate=1e-3,
        max_grad_norm=10.0,
    )
    agent = build_agent(config)
    key, state = agent.init(jax.random.key(0))
    key, state = agent.warmup(key, state, warmup_steps)
    rounds, result = 5, 0.0
    for _ in range(rounds):
        # What is kept of each iteration is nothing: the buffer has it all.
        key, state, _ = agent.train(key, state, -(-total_steps // rounds), keep=keep_nothing)
        key, transitions = agent.evaluate(key, state, 4 * 200)
        result = float(mean_return(transitions))
        print(f"{int(state.step):>7,} steps: mean return {result:.0f}", flush=True)
    return result


def keep_nothing(transition: object, metrics: object) -> tuple[()]:
    """What `train` keeps of an iteration."""
    return ()


if __name__ == "__main__":
    tyro.cli(main)
