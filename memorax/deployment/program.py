"""What a policy computes at a step, whatever computes it."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Dict, Discrete, MultiDiscrete, Space
from memorax.types import Array, Key, PyTree

Arrays = dict[str, Array]
"""Arrays by name."""

Step = Callable[..., tuple[PyTree, Arrays]]
"""`(params, observation, carry, done, previous_reward) -> (action, carry)`; the carry holds the previous action."""


@dataclass(frozen=True)
class Program(abc.ABC):
    """How a trained agent acts, as a pure function.

    Rows of all arrays, `B` of them, are environments; where several agents act in each, those of the first environment,
    then those of the second, and so on.

    Attributes:
        observation_space, action_space: what the environment shows and takes, for one agent.
        num_agents: agents in one environment.
        params: everything that was learned, by name: variables of the networks, statistics of normalisation.
        first_carry: the carry before the first step in one environment, leaves `[num_agents, ...]`.
    """

    observation_space: Space
    action_space: Space
    num_agents: int
    params: Arrays
    first_carry: Mapping[str, np.ndarray]

    @abc.abstractmethod
    def compiled(self, sampling: bool) -> Step:
        """The compiled step, which takes a random key last where it samples, and acts greedily where it does not."""

    @final
    def step(
        self,
        params: Arrays,
        observation: PyTree,
        carry: Arrays,
        done: Array,
        previous_action: Array | None = None,
        previous_reward: Array | None = None,
        key: Key | None = None,
    ) -> tuple[PyTree, Arrays]:
        """Choose the actions of a step.

        Args:
            params: what was learned, by name.
            observation: the environments' observations, leaves `[B, ...]`.
            carry: what `initial_carry` or the step before returned. Nothing of an episode that is over is used.
            done: whether each observation is the first of an episode, bool `[B]`.
            previous_action: what was done in the step before, in the units in which networks see actions (see
                `policy_space`). By default what this function chose then, which the carry holds.
            previous_reward: the reward of the step before as the environment paid it, float32 `[B]`; by default 0.
            key: random key to sample with, as in training. By default the policy acts greedily.

        Returns:
            `(action, carry)`: the actions as the environment takes them, `[B, ...]`, and the carry for the next step.
        """
        if previous_action is not None:
            carry = {**carry, "previous_action": jnp.asarray(previous_action, carry["previous_action"].dtype)}
        if previous_reward is None:
            previous_reward = jnp.zeros(jnp.shape(done), jnp.float32)
        arguments = (params, observation, carry, done, previous_reward)
        return self.compiled(False)(*arguments) if key is None else self.compiled(True)(*arguments, key)

    def initial_carry(self, num_envs: int = 1) -> Arrays:
        """The carry before the first step in each of `num_envs` environments."""
        return {
            name: jnp.asarray(np.tile(rows, (num_envs, *[1] * (rows.ndim - 1))))
            for name, rows in self.first_carry.items()
        }

    def step_shapes(self, rows: Any) -> tuple[PyTree, ...]:
        """The shapes of `(params, observation, carry, done, previous_reward)` for a number of rows."""
        element = jax.eval_shape(self.observation_space.sample, jax.random.key(0))

        def of_rows(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((rows, *leaf.shape), leaf.dtype)

        return (
            jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.params),
            jax.tree.map(of_rows, element),
            {name: of_rows(first[0]) for name, first in self.first_carry.items()},
            jax.ShapeDtypeStruct((rows,), np.bool_),
            jax.ShapeDtypeStruct((rows,), np.float32),
        )


def checked(space: Space, value: Any, lead: tuple[int, ...], name: str = "observation") -> PyTree:
    """An element of a space, or a batch of them, as arrays in the types of the space.

    Args:
        space: the space.
        value: the element, `[*lead, ...]`.
        lead: the axes before those of one element.
        name: what it is, for messages.

    Raises:
        ValueError: if its structure or shape is another, or its type cannot hold its values, or a symbol
            lies outside of the space.
    """
    if isinstance(space, Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            found = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise ValueError(f"{name} ({found}) must be a dictionary of {', '.join(space.spaces)}")
        return {key: checked(inner, value[key], lead, f"{name}[{key!r}]") for key, inner in space.spaces.items()}
    if isinstance(value, Mapping):
        raise ValueError(f"{name} must be an array {[*lead, *space.shape]}, and not a dictionary of {', '.join(value)}")
    given = np.asarray(value)
    # Rounding is fine, as from float64 to float32. A whole number that loses its fraction says something else.
    with np.errstate(invalid="ignore"):
        array = given.astype(space.dtype)
    if np.issubdtype(array.dtype, np.integer) and not np.array_equal(array, given):
        raise ValueError(f"{name} has values that {array.dtype} cannot hold: it must be an element of {space}")
    if array.shape != (*lead, *space.shape):
        raise ValueError(f"{name} {list(array.shape)} must have the shape {[*lead, *space.shape]}")
    if isinstance(space, Discrete | MultiDiscrete):
        sizes = space.n if isinstance(space, Discrete) else np.asarray(space.nvec)
        outside = (array < 0) | (array >= sizes)
        if outside.any():
            raise ValueError(f"{name} ({array[outside][0]}) must be an element of {space}")
    return array
