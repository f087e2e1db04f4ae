"""Actions in other units than those of the environment."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box
from memorax.environments.wrappers.arguments import require_box_of_actions
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class RescaleAction(Transform):
    """Show a bounded box of actions as one with other bounds, and map every action linearly to the environment's own.

    Algorithms of this library act in `-1 ... 1` in any case; the wrapper does it for whoever steps the environment
    otherwise. An action outside of the bounds is mapped to the nearest one of the environment.

    Args:
        env: an environment whose actions are a bounded `Box` of floats.
        bounds: the least and the largest value of every element.

    Raises:
        ValueError: if actions are no bounded `Box` of floats, or the bounds are not two finite numbers in order.
    """

    def __init__(self, env: Environment, bounds: Sequence[float] = (-1.0, 1.0)) -> None:
        super().__init__(env)
        numbers = isinstance(bounds, Sequence) and all(isinstance(x, Real) and np.isfinite(x) for x in bounds)
        if not numbers or len(bounds) != 2 or not bounds[0] < bounds[1]:
            raise ValueError(
                f"rescale_action ({bounds!r}) must be True or two finite numbers, the smaller first: -1, 1"
            )
        space = require_box_of_actions(f"rescale_action ({bounds})", env)
        if not space.bounded or not jnp.issubdtype(space.dtype, jnp.floating):
            raise ValueError(
                f"rescale_action ({bounds}) needs floats between bounds: the actions of {env.name} are "
                f"{jnp.dtype(space.dtype)} from {space.low} to {space.high}"
            )
        self.low, self.high = float(bounds[0]), float(bounds[1])
        self._space = space

    def action_space(self, params: PyTree) -> Box:
        return Box(self.low, self.high, self._space.shape, self._space.dtype)

    def act(self, key: Key, memory: PyTree, action: Array, params: PyTree) -> tuple[Array, PyTree]:
        weight = jnp.clip((action - self.low) / (self.high - self.low), 0.0, 1.0)
        bounds = (self._space.low, self._space.high)
        low, high = (np.broadcast_to(np.asarray(x, self._space.dtype), self._space.shape) for x in bounds)
        # The weights of bounds that nearly meet add up to one only but for rounding.
        return self._space.clip((low * (1.0 - weight) + high * weight).astype(self._space.dtype)), memory


def rescale_action(env: Environment, value: Any) -> Environment:
    """`RescaleAction` by a keyword that is True, False or two bounds."""
    if value is False:
        return env
    return RescaleAction(env) if value is True else RescaleAction(env, value)
