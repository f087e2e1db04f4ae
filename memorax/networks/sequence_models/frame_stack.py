"""Frame stacking: the last inputs side by side."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Key, where


class FrameStack(SequenceModel):
    """The last `num_frames` inputs of the episode, concatenated, the newest last (Mnih et al., 2015, DQN, methods).

    Inputs before the start of the episode are zeros. It has no parameters: layers that learn come after it, such as
    `Stack((FrameStack(4), MLP(64)))`.

    Attributes:
        num_frames: number of inputs, the current one included.
    """

    num_frames: int = 4

    def __post_init__(self) -> None:
        """Check the number."""
        if self.num_frames < 1:
            raise ValueError(f"FrameStack num_frames ({self.num_frames}) must be at least 1")
        super().__post_init__()

    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        num_steps, lag = inputs.shape[1], self.num_frames - 1
        frames = jnp.concatenate([carry, inputs.astype(carry.dtype)], axis=1)  # [B, lag + T, F]
        episode = jnp.pad(jnp.cumsum(done, axis=1), ((0, 0), (lag, 0)))
        current = episode[:, lag:]
        stacked = [
            where(episode[:, i : i + num_steps] == current, frames[:, i : i + num_steps], jnp.zeros_like(inputs))
            for i in range(self.num_frames)
        ]
        window = frames[:, num_steps:]
        window = where(episode[:, num_steps:] == current[:, -1:], window, jnp.zeros_like(window))
        return window, jnp.concatenate(stacked, axis=-1).astype(inputs.dtype)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The window of the `num_frames - 1` inputs before, zeros `[B, num_frames - 1, F]`."""
        return jnp.zeros((input_shape[0], self.num_frames - 1, input_shape[1]))
