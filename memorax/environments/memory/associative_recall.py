"""AssociativeRecall: pairs of a key and a value are shown, then the value of every key is asked for."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.memory import pictures
from memorax.environments.memory.answers import check_integer, graded
from memorax.environments.spaces import Discrete, MultiDiscrete
from memorax.types import Array, Key

NOTHING = 0


class AssociativeRecallState(struct.PyTreeNode):
    """The value of each key `[num_pairs]`, the keys in the order they are shown and asked for, and the steps taken."""

    values: Array
    keys: Array
    time: Array


class AssociativeRecall(Environment):
    """`num_pairs` pairs of a key and a value are shown, one at a step; then the keys, in another order, without values.

    Each pair has a key of its own; values are drawn independently of it and of each other. An observation is `(key,
    value)`, each counted from 1, and a value of 0 asks for it: the action must name it, counted from 0. An episode has
    `2 * num_pairs` steps and ends (terminated) with the last answer. Each answer gives `1 / num_pairs` if right and
    `-1 / (num_pairs * (num_values - 1))` if wrong, the steps before nothing.

    * Best return: 1, by whoever remembers all pairs, each for at most `2 * num_pairs - 1` steps.
    * Best return without memory: 0. A key says nothing about its value.

    Source: as pairs and a query, Ba et al., "Using Fast Weights to Attend to the Recent Past", 2016, section 4.1; with
    many queries, Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models", 2023.

    Args:
        num_pairs: number of pairs.
        num_values: number of values.

    Raises:
        ValueError: if `num_pairs` is not a positive integer, or `num_values` is less than 2.
    """

    best_return: ClassVar[float] = 1.0
    best_memoryless_return: ClassVar[float] = 0.0

    def __init__(self, num_pairs: int = 4, num_values: int = 4) -> None:
        self.num_pairs = check_integer("num_pairs", num_pairs)
        self.num_values = check_integer("num_values", num_values, least=2)

    def reset(self, key: Key, params: None) -> tuple[Array, AssociativeRecallState]:
        values_key, shown_key, asked_key = jax.random.split(key, 3)
        order = [jax.random.permutation(key, self.num_pairs) for key in (shown_key, asked_key)]
        state = AssociativeRecallState(
            values=jax.random.randint(values_key, (self.num_pairs,), 0, self.num_values),
            keys=jnp.concatenate(order),
            time=jnp.zeros((), jnp.int32),
        )
        return self._observe(state), state

    def step_env(self, key: Key, env_state: AssociativeRecallState, action: Array, params: None) -> StepResult:
        asked = env_state.time >= self.num_pairs
        right = action == env_state.values[env_state.keys[env_state.time]]
        reward = jnp.where(asked, graded(right, self.num_values) / self.num_pairs, 0.0)
        state = env_state.replace(time=env_state.time + 1)
        terminated = state.time == 2 * self.num_pairs
        return self._observe(state), state, reward, terminated, jnp.zeros_like(terminated), {}

    def observation_space(self, params: None) -> MultiDiscrete:
        return MultiDiscrete((self.num_pairs + 1, self.num_values + 1))

    def action_space(self, params: None) -> Discrete:
        return Discrete(self.num_values)

    def render(self, env_state: AssociativeRecallState, params: None) -> np.ndarray:
        """The key beside its value, or beside a question mark; below, all pairs."""
        time = int(env_state.time)
        canvas = pictures.stage(time / (2 * self.num_pairs - 1))
        values = np.asarray(env_state.values)
        key = int(np.asarray(env_state.keys)[min(time, 2 * self.num_pairs - 1)])
        pictures.number(canvas, 80, 60, 50, key)
        pictures.tile(canvas, 160, 60, 60, int(values[key]) if time < self.num_pairs else None)
        if time >= self.num_pairs:
            pictures.question_mark(canvas, 160, 60, 34)
        size = min(36.0, 220 / self.num_pairs)
        for i, value in enumerate(values):
            x = pictures.WIDTH / 2 + (i - (self.num_pairs - 1) / 2) * 1.1 * size
            pictures.number(canvas, x, 112, 0.4 * size, i)
            pictures.tile(canvas, x, 138, 0.8 * size, int(value))
        return canvas.pixels

    def _observe(self, state: AssociativeRecallState) -> Array:
        key = state.keys[jnp.minimum(state.time, 2 * self.num_pairs - 1)]
        value = jnp.where(state.time < self.num_pairs, state.values[key] + 1, NOTHING)
        return jnp.where(state.time < 2 * self.num_pairs, jnp.stack([key + 1, value]), NOTHING).astype(jnp.int32)
