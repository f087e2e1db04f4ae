"""Algorithms: each a config, a state and a class with `init`, `train`, `warmup`, `evaluate`."""

from memorax.algorithms.algorithm import Algorithm, AlgorithmState
from memorax.algorithms.dqn import DQN, DQNConfig, DQNState
from memorax.algorithms.ppo import PPO, PPOConfig, PPOState

ALGORITHMS: dict[str, tuple[type[Algorithm], type]] = {
    "ppo": (PPO, PPOConfig),
    "dqn": (DQN, DQNConfig),
}
"""Every algorithm and its config, by the name the command line knows it by."""

__all__ = ["ALGORITHMS", "DQN", "PPO", "Algorithm", "AlgorithmState", "DQNConfig", "DQNState", "PPOConfig", "PPOState"]
