"""What a policy computes at a step, whatever computes it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from memorax.deployment.arguments import (
    checked,
    checked_done,
    checked_reward,
    require_arrays,
    require_random_key,
)
from memorax.environments.spaces import Space
from memorax.types import Array, Key, PyTree
from memorax.validation import whole_number

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
        previous_action_space: what networks see of the action before, for one agent; see `policy_space`.
        num_agents: agents in one environment.
        params: everything that was learned, by name: variables of the networks, statistics of normalisation.
        first_carry: the carry before the first step in one environment, leaves `[num_agents, ...]`.
    """

    observation_space: Space
    action_space: Space
    previous_action_space: Space
    num_agents: int
    params: Arrays
    first_carry: Mapping[str, np.ndarray]

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: compiled programs are left out, and made anew."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

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
            previous_reward: the reward of the step before as the environment paid it, float32 `[B]`, or one that all
                rows were paid; by default 0.
            key: random key to sample with, as in training. By default the policy acts greedily.

        Returns:
            `(action, carry)`: the actions as the environment takes them, `[B, ...]`, and the carry for the next step.

        Raises:
            ValueError: if an array is of another shape or kind, which is told under `jax.jit` too; or, outside of it,
                if a value is none that the environment shows or the policy chooses.
        """
        if params is not self.params:
            require_arrays("params", params, self.params, "give policy.params")
        done = checked_done(done, self.num_agents)
        rows = done.shape[0]
        observation = checked(self.observation_space, observation, (rows,))
        self._require_carry(carry, rows)
        if previous_action is not None:
            chosen = checked(self.previous_action_space, previous_action, (rows,), "previous_action")
            carry = {**carry, "previous_action": chosen}
        paid = jnp.zeros(rows, jnp.float32) if previous_reward is None else checked_reward(previous_reward, rows)
        arguments = (params, observation, carry, done, paid)
        if key is None:
            return self.compiled(False)(*arguments)
        require_random_key(key)
        return self.compiled(True)(*arguments, key)

    def _require_carry(self, carry: Any, rows: int) -> None:
        wanted = {
            name: jax.ShapeDtypeStruct((rows, *first.shape[1:]), first.dtype)
            for name, first in self.first_carry.items()
        }
        require_arrays("carry", carry, wanted, "give what initial_carry or the step before returned")

    def initial_carry(self, num_envs: int = 1) -> Arrays:
        """The carry before the first step in each of `num_envs` environments."""
        num_envs = whole_number("num_envs", num_envs)
        if num_envs < 1:
            raise ValueError(f"num_envs ({num_envs}) must be at least 1: it counts environments side by side")
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
