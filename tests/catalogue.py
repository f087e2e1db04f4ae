"""Every part of the library, listed once: the laws run over these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import memorax
from memorax.algorithms import (
    ALGORITHMS,
    ACLambdaConfig,
    Algorithm,
    DQNConfig,
    GradientPPOConfig,
    IMPALAConfig,
    PPOConfig,
    PQNConfig,
    QLambdaConfig,
    R2D2Config,
    SACConfig,
)
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.environments.wrappers.wrapper import Wrapper
from memorax.networks import (
    GLU,
    MLP,
    RNN,
    TORSOS,
    FeatureExtractor,
    FrameStack,
    GatedResidual,
    LRUCell,
    Memoroid,
    MoE,
    Network,
    OneHot,
    PreNorm,
    Residual,
    RL2Wrapper,
    SelfAttention,
    Stack,
    heads,
)

FEATURES = 8

MODELS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda make=make: make(FEATURES) for name, make in TORSOS.items()},
    "mgu": lambda: RNN(nn.MGUCell(FEATURES)),
    "lstm_as_written_in_flax": lambda: RNN(nn.LSTMCell(FEATURES)),
    "gru_with_another_activation": lambda: RNN(nn.GRUCell(FEATURES, activation_fn=nn.relu)),
    "gated_residual": lambda: Stack((GatedResidual(PreNorm(RNN(nn.GRUCell(FEATURES)))), Residual(MoE(FEATURES)))),
    "repeated_layers": lambda: Stack((Residual(PreNorm(Memoroid(LRUCell(FEATURES)))), Residual(GLU(FEATURES))), 2),
    "frame_stack": lambda: FrameStack(4),
    "rl2_with_one_episode": lambda: RL2Wrapper(RNN(nn.GRUCell(FEATURES)), episodes_per_trial=1),
    "attention_shorter_than_the_sequence": lambda: SelfAttention(FEATURES, num_heads=2, context_length=7),
}

HEADS: dict[str, tuple[nn.Module, Space]] = {
    "categorical": (heads.Categorical(3), Discrete(3)),
    "multi_categorical": (heads.MultiCategorical((2, 3)), MultiDiscrete((2, 3))),
    "gaussian": (heads.Gaussian(2), Box(-1.0, 1.0, (2,))),
    "squashed_gaussian": (heads.SquashedGaussian(2), Box(-2.0, 2.0, (2,))),
    "beta": (heads.Beta(2), Box(-1.0, 1.0, (2,))),
}
"""Policy heads, each with an action space it fits."""

ENVIRONMENTS: list[str] = [
    *(f"popgym::{name}" for name in memorax.environments.registered()["popgym"] if name.endswith("Easy")),
    *(f"memory::{name}" for name in ("ActiveTMaze", "AssociativeRecall", "DelayedMatchToSample", "MemoryChain")),
    *("memory::RecallHorizon-8", "memory::TMaze"),
    "gymnasium::CartPole-v1",
    "gymnasium::Pendulum-v1",
    "gymnasium::Blackjack-v1",
    "gymnax::CartPole-v1",
    "gymnax::Pendulum-v1",
    "gymnax::MountainCarContinuous-v0",
    "gymnax::Catch-bsuite",
    "gymnax::Breakout-MinAtar",
]

SMALL_PPO = PPOConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=2)

CONFIGS: dict[str, Any] = {
    **dict.fromkeys(("ppo", "shared_ppo", "ippo", "mappo"), SMALL_PPO),
    "dqn": DQNConfig(
        num_envs=4, num_steps=4, buffer_size=512, batch_size=4, burn_in=2, sequence_length=6, learning_starts=32
    ),
    "r2d2": R2D2Config(
        num_envs=4,
        num_steps=4,
        num_updates=2,
        n_steps=3,
        buffer_size=512,
        batch_size=4,
        burn_in=2,
        sequence_length=6,
        period=2,
        learning_starts=32,
    ),
    "pqn": PQNConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=2, exploration_steps=100),
    "sac": SACConfig(
        num_envs=4, num_steps=4, num_updates=2, buffer_size=512, batch_size=4, sequence_length=6, learning_starts=32
    ),
    "gradient_ppo": GradientPPOConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=2, sequence_length=4),
    "impala": IMPALAConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=2),
    "ac_lambda": ACLambdaConfig(),
    "q_lambda": QLambdaConfig(exploration_steps=100),
}
"""A small config of every algorithm."""


class WithGlobalState(Wrapper):
    """Shows the observation a second time, to critics that see the global state."""

    def reset(self, key: Any, params: Any) -> Any:
        observation, state = self.env.reset(key, params)
        return _with_global_state(observation), state

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        observation, *rest = self.env.step_env(key, env_state, action, params)
        return _with_global_state(observation), *rest

    def observation_space(self, params: Any) -> Space:
        space = self.env.observation_space(params)
        return Dict(_with_global_state(space.spaces if isinstance(space, Dict) else space))


def _with_global_state(observation: Any) -> dict[str, Any]:
    parts = dict(observation) if isinstance(observation, Mapping) else {"observation": observation}
    return {**parts, "global_state": parts["observation"]}


def leaves_as_vector(observation: Any) -> Any:
    """All parts of an observation `[B, T, ...]` side by side."""
    parts = jax.tree.leaves(observation)
    return jnp.concatenate([x.reshape(*x.shape[:2], -1) for x in parts], axis=-1)


def make_agent(
    algorithm: str, env: Environment, env_params: Any, torso: nn.Module, cfg: Any = None, **optimizer: Any
) -> Algorithm:
    """A small agent that also sees its previous action and reward."""
    env = WithGlobalState(env) if algorithm == "mappo" else env
    action_space = env.action_space(env_params)
    discrete = isinstance(action_space, Discrete)

    def make_network(head: nn.Module) -> Network:
        extractor = FeatureExtractor(
            observation_extractor=nn.Sequential([leaves_as_vector, MLP(FEATURES, activation=jnp.tanh)]),
            action_extractor=OneHot(action_space.n) if discrete else None,
            reward_extractor=MLP(4),
            done_extractor=MLP(4),
        )
        return Network(extractor, torso, head)

    transformation = optax.adam(optimizer.get("learning_rate", 3e-3))
    return ALGORITHMS[algorithm][0].build(cfg or CONFIGS[algorithm], env, env_params, make_network, transformation)
