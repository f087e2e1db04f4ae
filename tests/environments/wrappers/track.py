"""A tiny environment whose every number is known, and a play of a batch of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult, VectorEnvironment
from memorax.environments.spaces import Box, Discrete, Space
from memorax.types import Array, Key, PyTree

FAIL = 1
LIMIT = 5


@struct.dataclass
class TrackState:
    """A number drawn at the reset, and the steps taken since."""

    start: Array
    steps: Array


@dataclass(frozen=True)
class Track(Environment):
    """Shows a number drawn at the reset and the steps taken since; the reward is the latter, signed by the action.

    Action 1 (or the first of several, or any beyond a half) ends the episode by a failure that leaves a NaN behind in
    the state; the fifth step is its time limit.
    """

    actions: Space = field(default_factory=lambda: Discrete(3))

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, TrackState]:
        state = TrackState(start=jax.random.uniform(key, (), minval=1.0, maxval=2.0), steps=jnp.zeros((), jnp.int32))
        return self.observe(state), state

    def step_env(self, key: Key, env_state: TrackState, action: Array, params: PyTree) -> StepResult:
        first = jnp.ravel(action)[0]
        failed = first > 0.5 if isinstance(self.actions, Box) else first == FAIL
        state = TrackState(start=env_state.start, steps=env_state.steps + 1)
        reward = jnp.where(first > 1, -1.0, 1.0) * state.steps
        observation = self.observe(state)
        state = state.replace(start=jnp.where(failed, jnp.nan, state.start))
        return observation, state, reward, failed, (state.steps >= LIMIT) & ~failed, {"action": action}

    def observe(self, state: TrackState) -> PyTree:
        return jnp.stack([state.start, state.steps.astype(jnp.float32)])

    def observation_space(self, params: PyTree) -> Space:
        return Box(np.asarray([1.0, 0.0]), np.asarray([2.0, LIMIT]), (2,))

    def action_space(self, params: PyTree) -> Space:
        return self.actions

    def render(self, env_state: TrackState, params: PyTree) -> np.ndarray:
        return np.full((2, 3, 3), int(env_state.steps), np.uint8)


class Play(NamedTuple):
    """A play of `T` steps: the first observation `[B, ...]`, and of each step `[T, B, ...]` what it gave."""

    first: Any
    observation: Any
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    info: dict[str, Any]
    state: Any

    @property
    def done(self) -> np.ndarray:
        return self.terminated | self.truncated

    @property
    def time(self) -> np.ndarray:
        """The steps of the running episode after each step, that one included: `[T, B]`."""
        time = np.zeros(self.done.shape, int)
        for t in range(len(time)):
            time[t] = 1 if t == 0 else np.where(self.done[t - 1], 0, time[t - 1]) + 1
        return time


def play(env: Environment | VectorEnvironment, actions: Any, seed: int = 0, params: PyTree = None) -> Play:
    """Play fixed actions `[T, B, ...]`."""
    actions = jnp.asarray(actions)
    batch = env if isinstance(env, VectorEnvironment) else env.vectorize(actions.shape[1])

    def step(state: PyTree, inputs: tuple[Key, Array]) -> tuple[PyTree, Any]:
        observation, state, *rest = batch.step(inputs[0], state, inputs[1], params)
        return state, (observation, *rest, state)

    @jax.jit
    def run(key: Key) -> Any:
        first, state = batch.reset(key, params)
        return first, jax.lax.scan(step, state, (jax.random.split(key, len(actions)), actions))[1]

    first, (*steps, state) = jax.device_get(run(jax.random.key(seed)))
    return Play(first, *steps, state)


ACTIONS = np.zeros((13, 3), np.int32)
ACTIONS[2, 1] = ACTIONS[9, 1] = ACTIONS[4, 2] = FAIL
"""The first environment only meets its time limits; the others fail now and then, the last at a time limit."""
