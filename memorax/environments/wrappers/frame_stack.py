"""Shows the last few observations at once."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Space
from memorax.environments.wrappers.arguments import require_box, require_integer
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class FrameStack(Transform):
    """See the last `num_frames` observations at once, the oldest first, side by side on the last axis.

    Images `[H, W, C]` become `[H, W, num_frames * C]`, vectors `[F]` become `[num_frames * F]`. At the start of an
    episode all are the first observation.

    Source: Mnih et al., "Human-level control through deep reinforcement learning", 2015, methods, preprocessing.

    Args:
        env: an environment whose observations are a `Box` of at least one axis.
        num_frames: number of observations.

    Raises:
        ValueError: if `num_frames` is not a positive integer, or observations are no `Box` with an axis.
    """

    def __init__(self, env: Environment, num_frames: int) -> None:
        super().__init__(env)
        if not require_box("frame_stack", env).shape:
            raise ValueError(f"frame_stack ({num_frames!r}) needs observations with an axis: {env.name} has a number")
        self.num_frames = require_integer("frame_stack", num_frames, "how many observations are seen at once")

    def begin(self, key: Key, observation: Array, params: PyTree) -> tuple[Array, Array]:
        stack = jnp.concatenate([observation] * self.num_frames, axis=-1)
        return stack, stack

    def observe(
        self, key: Key, memory: Array, action: PyTree, reward: Array, observation: Array, params: PyTree
    ) -> tuple[Array, Array]:
        stack = jnp.concatenate([memory[..., observation.shape[-1] :], observation], axis=-1)
        return stack, stack

    def seen_space(self, space: Space, params: PyTree) -> Box:
        assert isinstance(space, Box)
        low, high = (
            np.concatenate([np.broadcast_to(np.asarray(bound), space.shape)] * self.num_frames, axis=-1)
            for bound in (space.low, space.high)
        )
        return Box(low, high, low.shape, space.dtype)
