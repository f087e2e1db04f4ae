"""RL2: a model whose memory is kept over the episodes of a trial."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax import struct

from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.networks.sequence_models.sequence_model_wrapper import as_sequence_model
from memorax.types import Array, Carry, Key


@struct.dataclass
class RL2Carry:
    """The model's memory, and where the trial stands.

    Attributes:
        memory: carry of the model.
        num_episodes: number of episodes of the trial that have begun, int32 `[B]`; 0 where the next one begins a trial.
    """

    memory: Carry
    num_episodes: Array


class RL2Wrapper(SequenceModel):
    """A model that remembers across the episodes of a trial (Duan et al., 2016, "RL^2", Section 2.2).

    It is told of a start only where a trial starts, at every `episodes_per_trial`-th start of an episode: what it
    learned about the task in one episode serves in the next. The features should hold the previous action, reward and
    `done`, as in the paper, by which it knows that an episode ended.

    Within a trial, what came before a `done` does change what follows it. Where several time limits of one trial fall
    into one rollout, the bootstrap values of the later ones are computed with the earlier final observations in memory.

    Attributes:
        model: the model, or any module that maps `[B, T, F]` to `[B, T, D]`, each step by itself.
        episodes_per_trial: number of episodes after which the memory is reset.
    """

    model: nn.Module
    episodes_per_trial: int = 2

    def __post_init__(self) -> None:
        """Check the number, and let a module without memory stand where a sequence model does."""
        if self.episodes_per_trial < 1:
            raise ValueError(f"RL2Wrapper episodes_per_trial ({self.episodes_per_trial}) must be at least 1")
        self.model = as_sequence_model(self.model)
        super().__post_init__()

    def __call__(self, inputs: Array, done: Array, carry: RL2Carry) -> tuple[RL2Carry, Array]:
        """Run over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        begun = carry.num_episodes[:, None] + jnp.cumsum(done, axis=1, dtype=jnp.int32)
        episode = (begun - 1) % self.episodes_per_trial  # of its trial, from 0
        memory, outputs = self.model(inputs, done & (episode == 0), carry.memory)
        return RL2Carry(memory, begun[:, -1] % self.episodes_per_trial), outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> RL2Carry:
        """The model's initial carry, before the first episode."""
        return RL2Carry(self.model.initialize_carry(key, input_shape), jnp.zeros(input_shape[:1], jnp.int32))
