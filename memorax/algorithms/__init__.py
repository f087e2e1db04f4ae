"""Algorithms: each a config, a state and a class with `init`, `train`, `warmup`, `evaluate`."""

from memorax.algorithms.ac_lambda import ACLambda, ACLambdaConfig, ACLambdaState
from memorax.algorithms.algorithm import Agent, Algorithm, AlgorithmState
from memorax.algorithms.dqn import DQN, DQNConfig, DQNState
from memorax.algorithms.gradient_ppo import GradientPPO, GradientPPOConfig, GradientPPOState
from memorax.algorithms.impala import IMPALA, IMPALAConfig
from memorax.algorithms.mappo import IPPO, MAPPO
from memorax.algorithms.ppo import PPO, PPOConfig, PPOState
from memorax.algorithms.pqn import PQN, PQNConfig, PQNState
from memorax.algorithms.q_lambda import QLambda, QLambdaConfig, QLambdaState
from memorax.algorithms.r2d2 import R2D2, R2D2Config, R2D2State
from memorax.algorithms.sac import SAC, SACConfig, SACState
from memorax.algorithms.shared_ppo import SharedPPO, SharedPPOState

ALGORITHMS: dict[str, tuple[type[Algorithm], type]] = {
    "ppo": (PPO, PPOConfig),
    "shared_ppo": (SharedPPO, PPOConfig),
    "ippo": (IPPO, PPOConfig),
    "mappo": (MAPPO, PPOConfig),
    "dqn": (DQN, DQNConfig),
    "r2d2": (R2D2, R2D2Config),
    "pqn": (PQN, PQNConfig),
    "sac": (SAC, SACConfig),
    "gradient_ppo": (GradientPPO, GradientPPOConfig),
    "impala": (IMPALA, IMPALAConfig),
    "ac_lambda": (ACLambda, ACLambdaConfig),
    "q_lambda": (QLambda, QLambdaConfig),
}
"""Every algorithm and its config, by the name the command line knows it by."""

__all__ = [
    "ALGORITHMS",
    "DQN",
    "IMPALA",
    "IPPO",
    "MAPPO",
    "PPO",
    "PQN",
    "R2D2",
    "SAC",
    "ACLambda",
    "ACLambdaConfig",
    "ACLambdaState",
    "Agent",
    "Algorithm",
    "AlgorithmState",
    "DQNConfig",
    "DQNState",
    "GradientPPO",
    "GradientPPOConfig",
    "GradientPPOState",
    "IMPALAConfig",
    "PPOConfig",
    "PPOState",
    "PQNConfig",
    "PQNState",
    "QLambda",
    "QLambdaConfig",
    "QLambdaState",
    "R2D2Config",
    "R2D2State",
    "SACConfig",
    "SACState",
    "SharedPPO",
    "SharedPPOState",
]
