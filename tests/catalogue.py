"""Every part of the library, listed once: the laws run over these."""

from __future__ import annotations

from collections.abc import Mapping
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
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network, OneHot, architectures, heads
from memorax.networks.blocks import GLU, GatedResidual, MoE, PostNorm, PreNorm, Projection, Residual, Stack
from memorax.networks.positional_embeddings import ALiBi
from memorax.networks.sequence_models import (
    RNN,
    CausalConvolution,
    DeltaNetCell,
    FFMCell,
    FrameStack,
    FWPCell,
    GatedDeltaNetCell,
    GLACell,
    IndRNNCell,
    LearnedPositionalEmbedding,
    LinearAttentionCell,
    LMUCell,
    LRUCell,
    MambaCell,
    Memoroid,
    MinGRUCell,
    MinLSTMCell,
    RetNetCell,
    RGLRUCell,
    RL2Wrapper,
    RTUCell,
    RWKV7Cell,
    S4DCell,
    S5Cell,
    SegmentRecurrence,
    SelfAttention,
    SequenceModel,
    SequenceModelWrapper,
    SHMCell,
    mLSTMCell,
    sLSTMCell,
)
from memorax.training.optimizers import as_one_vector

FEATURES = 8


class UserCell(nn.RNNCellBase):
    """A cell Flax does not know, with a state that starts at one: a leaky average, then a layer."""

    features: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        carry = 0.9 * carry + 0.1 * nn.Dense(self.features, dtype=self.dtype)(inputs)
        return carry, nn.tanh(nn.Dense(self.features, dtype=self.dtype)(carry))

    @nn.nowrap
    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> jax.Array:
        return jnp.ones((*input_shape[:-1], self.features))


PARTS: dict[str, SequenceModel] = {
    "memoryless": SequenceModelWrapper(nn.Dense(FEATURES)),
    "simple": RNN(nn.SimpleCell(FEATURES, residual=True)),
    "gru": RNN(nn.GRUCell(FEATURES)),
    "mgu": RNN(nn.MGUCell(FEATURES)),
    "lstm": RNN(nn.OptimizedLSTMCell(FEATURES)),
    "user_cell": RNN(UserCell(FEATURES)),
    "slstm": Memoroid(sLSTMCell(FEATURES, num_heads=2)),
    "shm": Memoroid(SHMCell(FEATURES, memory_size=5)),
    "rtu": Memoroid(RTUCell(FEATURES)),
    "indrnn": Memoroid(IndRNNCell(FEATURES)),
    "lmu": Memoroid(LMUCell(FEATURES, order=4, theta=8)),
    "lru": Memoroid(LRUCell(FEATURES, state_dim=6)),
    "s5": Memoroid(S5Cell(FEATURES, state_dim=6)),
    "s4d": Memoroid(S4DCell(FEATURES, d_state=4, chunk_length=7)),
    "mingru": Memoroid(MinGRUCell(FEATURES)),
    "minlstm": Memoroid(MinLSTMCell(FEATURES)),
    "rglru": Memoroid(RGLRUCell(FEATURES)),
    "ffm": Memoroid(FFMCell(FEATURES, memory_size=4, context_size=2)),
    "mamba": Memoroid(MambaCell(FEATURES, head_dim=8, chunk_length=5)),
    "mlstm": Memoroid(mLSTMCell(FEATURES, num_heads=2, chunk_length=5)),
    "linear_attention": Memoroid(LinearAttentionCell(FEATURES, num_heads=2, chunk_length=8)),
    "retnet": Memoroid(RetNetCell(FEATURES, num_heads=2, chunk_length=8)),
    "gla": Memoroid(GLACell(FEATURES, num_heads=2, chunk_length=6)),
    "deltanet": Memoroid(DeltaNetCell(FEATURES, num_heads=2, chunk_length=8)),
    "gated_deltanet": Memoroid(GatedDeltaNetCell(FEATURES, num_heads=2, chunk_length=7)),
    "fwp": Memoroid(FWPCell(FEATURES, num_heads=2, chunk_length=8)),
    "rwkv7": Memoroid(RWKV7Cell(FEATURES, num_heads=2, chunk_length=6)),
    "attention": SelfAttention(FEATURES, num_heads=2, context_length=7),
    "attention_with_alibi": SelfAttention(
        FEATURES, 4, context_length=7, num_kv_heads=2, positional_embedding=ALiBi(), use_bias=True
    ),
    "segment_recurrence": SegmentRecurrence(FEATURES, num_heads=2, memory_length=7),
    "learned_positional_embedding": LearnedPositionalEmbedding(7),
    "causal_convolution": CausalConvolution(3),
    "frame_stack": Stack((FrameStack(3), nn.Dense(FEATURES))),
    "blocks": Stack(
        (
            GatedResidual(PreNorm(RNN(nn.GRUCell(FEATURES)), nn.LayerNorm())),
            PostNorm(Residual(MoE(FEATURES, 2)), nn.RMSNorm()),
            Residual(nn.Sequential((GLU(6), Projection(FEATURES)))),
        ),
        depth=2,
    ),
    "gtrxl": architectures.gtrxl(FEATURES, num_heads=2, memory_length=7),
    "transformer_xl": architectures.transformer_xl(FEATURES, num_heads=2, memory_length=7),
    "gpt2": architectures.gpt2(FEATURES, num_heads=2, context_length=7),
    "xlstm": architectures.xlstm(FEATURES, num_heads=2),
    "mamba_stack": architectures.mamba(FEATURES),
    "griffin": architectures.griffin(FEATURES, num_heads=2, context_length=7),
    "s5_stack": architectures.s5(FEATURES),
}
"""Every sequence model alone, of a size at which its algorithm changes course within a few steps."""

VARIANTS: dict[str, nn.Module] = {
    "lstm_as_written_in_flax": RNN(nn.LSTMCell(FEATURES)),
    "gru_with_another_activation": RNN(nn.GRUCell(FEATURES, activation_fn=nn.relu)),
    "wider_than_its_inputs": RNN(nn.GRUCell(12)),
    "mamba_without_convolution": Memoroid(MambaCell(12, expand=1, head_dim=4, d_conv=1)),
    "frame_stack_alone": FrameStack(4),
    "rl2_with_one_episode": RL2Wrapper(RNN(nn.GRUCell(FEATURES)), episodes_per_trial=1),
    "attention_to_itself": SelfAttention(FEATURES, context_length=1),
    "attention_as_long_as_the_sequence": SelfAttention(FEATURES, context_length=24),
    "segments_longer_than_the_sequence": SegmentRecurrence(12, num_heads=3, memory_length=30),
}
"""Further settings and sizes."""

MODELS: dict[str, nn.Module] = {
    **{f"torso:{name}": make(FEATURES) for name, make in TORSOS.items()},
    **PARTS,
    **VARIANTS,
}
"""Every sequence model: the torsos by name, and what they are made of."""

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
            observation_extractor=nn.Sequential((leaves_as_vector, MLP(FEATURES, activation=jnp.tanh))),
            action_extractor=OneHot(action_space.n) if discrete else None,
            # As they are: a layer of their own would be a good part of what each test of an agent compiles.
            reward_extractor=nn.Sequential((jnp.asarray,)),
            done_extractor=nn.Sequential((jnp.asarray,)),
        )
        return Network(extractor, torso, head)

    transformation = as_one_vector(optax.adam(optimizer.get("learning_rate", 3e-3)))
    return ALGORITHMS[algorithm][0].build(cfg or CONFIGS[algorithm], env, env_params, make_network, transformation)
