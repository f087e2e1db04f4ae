"""Shows the last few observations at once."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.environments.space_images import channels_first, is_image
from memorax.environments.spaces import Box, Space
from memorax.environments.wrappers.arguments import require_box, require_integer
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class FrameStack(Transform):
    """See the last `num_frames` observations at once, the oldest first, side by side.

    Vectors `[F]` become `[num_frames * F]`, and tables likewise grow on their last axis. Frames of images are channels,
    where encoders look for these (`memorax.networks.SpaceImage`): `[H, W, C]` becomes `[H, W, num_frames * C]`, gray
    `[H, W]` becomes `[H, W, num_frames]`, and `[C, H, W]` becomes `[num_frames * C, H, W]`, or `[H, W, num_frames * C]`
    where so many channels would be taken for rows. At the start of an episode all are the first observation.

    Source: Mnih et al., "Human-level control through deep reinforcement learning", 2015, methods, preprocessing.

    Args:
        env: an environment whose observations are a `Box` of at least one axis.
        num_frames: number of observations.

    Raises:
        ValueError: if `num_frames` is not a positive integer, or observations are no `Box` with an axis.
    """

    def __init__(self, env: Environment, num_frames: int) -> None:
        super().__init__(env)
        space = require_box("frame_stack", env)
        if not space.shape:
            raise ValueError(f"frame_stack ({num_frames!r}) needs observations with an axis: {env.name} has a number")
        self.num_frames = require_integer("frame_stack", num_frames, "how many observations are seen at once")
        self._order, self._axis = _layout(space, self.num_frames)

    def begin(self, key: Key, observation: Array, params: PyTree) -> tuple[Array, Array]:
        stack = jnp.concatenate([self._frame(observation)] * self.num_frames, axis=self._axis)
        return stack, stack

    def observe(
        self, key: Key, memory: Array, action: PyTree, reward: Array, observation: Array, params: PyTree
    ) -> tuple[Array, Array]:
        frame = self._frame(observation)
        _, newer = jnp.split(memory, [frame.shape[self._axis]], axis=self._axis)
        stack = jnp.concatenate([newer, frame], axis=self._axis)
        return stack, stack

    def seen_space(self, space: Space, params: PyTree) -> Box:
        assert isinstance(space, Box)
        low, high = (
            np.concatenate([self._frame(np.broadcast_to(np.asarray(bound), space.shape))] * self.num_frames, self._axis)
            for bound in (space.low, space.high)
        )
        return Box(low, high, low.shape, space.dtype)

    def _frame(self, observation: Any) -> Any:
        """An observation, of NumPy or JAX, with its axes as those of the stack."""
        return observation[..., None] if self._order is None else observation.transpose(self._order)


def _layout(space: Box, num_frames: int) -> tuple[tuple[int, ...] | None, int]:
    """The order of an observation's axes in a stack, None where it is given one for channels; the axis that grows."""
    axes = tuple(range(len(space.shape)))
    if not is_image(space):
        return axes, -1
    if len(axes) == 2:
        return None, -1
    *_, channels, height, width = space.shape
    if not channels_first((channels, height, width)):
        return axes, -1
    if channels_first((num_frames * channels, height, width)):
        return axes, -3
    return (*axes[:-3], axes[-2], axes[-1], axes[-3]), -1
