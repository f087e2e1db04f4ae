"""Turns an action of several choices into one choice, and one of numbers on several axes into a vector."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space, action_mask_space
from memorax.environments.wrappers.arguments import describe, require_box_of_actions
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree
from memorax.validation import LARGEST_COUNT

MASKS = ("action_mask", "joint_action_mask")


class FlattenAction(Transform):
    """Number the combinations of several choices, so that one choice makes them all.

    The last choice varies fastest: with choices of 2 and 3, action 4 is `(1, 1)`. A mask of legal actions becomes that
    of combinations: from `action_mask` those whose every choice is legal, from `joint_action_mask` those it names.

    Args:
        env: an environment whose actions are `MultiDiscrete`.

    Raises:
        ValueError: if actions are not `MultiDiscrete`, or there are more combinations than 32-bit integers.
    """

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        space = env.action_space(env.default_params)
        if not isinstance(space, MultiDiscrete):
            raise ValueError(
                "flatten_action (True) needs actions that are MultiDiscrete (FlattenAction) or a Box "
                f"(FlattenBoxAction): {env.name} has {describe(space)}"
            )
        if math.prod(space.nvec) > LARGEST_COUNT:
            raise ValueError(
                f"flatten_action (True) makes too many actions of {space.nvec}: at most {LARGEST_COUNT} fit"
            )
        self._space = space

    def action_space(self, params: PyTree) -> Discrete:
        return Discrete(math.prod(self._space.nvec))

    def keep(self, parts: dict[str, PyTree]) -> dict[str, PyTree]:
        rest = {name: part for name, part in parts.items() if name not in MASKS}
        if "joint_action_mask" in parts:
            return {**rest, "action_mask": parts["joint_action_mask"].ravel()}
        if "action_mask" in parts:
            return {**rest, "action_mask": legal_combinations(parts["action_mask"], self._space.nvec)}
        return rest

    def kept_spaces(self, spaces: dict[str, Space]) -> dict[str, Space]:
        rest = {name: space for name, space in spaces.items() if name not in MASKS}
        masked = len(rest) < len(spaces)
        return {**rest, "action_mask": action_mask_space(Discrete(math.prod(self._space.nvec)))} if masked else rest

    def act(self, key: Key, memory: PyTree, action: Array, params: PyTree) -> tuple[Array, PyTree]:
        choices = jnp.unravel_index(action, self._space.nvec)
        return jnp.stack(choices).astype(self._space.dtype), memory


def legal_combinations(mask: Array, nvec: tuple[int, ...]) -> Array:
    """Which combinations consist of legal choices alone: bool `[prod(nvec)]` of `[sum(nvec)]`."""
    combinations = jnp.ones((1,), bool)
    for choice in jnp.split(mask, np.cumsum(nvec)[:-1]):
        combinations = (combinations[:, None] & choice[None, :]).ravel()
    return combinations


class FlattenBoxAction(Transform):
    """Show a box of actions as a vector, which is what policies act in: a single number as one of one element.

    Args:
        env: an environment whose actions are a `Box`.

    Raises:
        ValueError: if actions are no `Box`.
    """

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._space = require_box_of_actions("flatten_action (True)", env)

    def action_space(self, params: PyTree) -> Box:
        bounds = (self._space.low, self._space.high)
        low, high = (np.broadcast_to(np.asarray(bound), self._space.shape).ravel() for bound in bounds)
        return Box(low, high, low.shape, self._space.dtype)

    def act(self, key: Key, memory: PyTree, action: Array, params: PyTree) -> tuple[Array, PyTree]:
        return action.reshape(self._space.shape), memory


def flatten_action(env: Environment) -> Environment:
    """`FlattenAction` or `FlattenBoxAction`, whichever the action space asks for."""
    box = isinstance(env.action_space(env.default_params), Box)
    return FlattenBoxAction(env) if box else FlattenAction(env)
