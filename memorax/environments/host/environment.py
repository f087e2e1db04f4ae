"""Environments in Python on the host, stepped from compiled code by one callback per step of the batch."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult, VectorEnvironment
from memorax.environments.host.batch import HostBatch, HostBatches, close_batch, find
from memorax.environments.host.callback import by_callback
from memorax.environments.spaces import Space
from memorax.types import Array, Key, PyTree


class HostState(struct.PyTreeNode):
    """Names the environments on the host that a row of a batch stands for: leaves `[B]`.

    Attributes:
        batch: the number of their batch, the same in all of them.
        index: place of each environment in its batch.
        time: steps the batch has taken, by which one that is stepped twice from one state is found out.
    """

    batch: Array
    index: Array
    time: Array


class HostEnvironment(Environment):
    """An environment of a suite that runs in Python: only a batch of it is stepped.

    It has its own randomness, seeded by the key of `reset`. It cannot be mapped with `vmap`, stepped twice from one
    state, or saved: each is refused in one line.

    Args:
        name: name of the environment, for messages.
        make_batch: makes that many environments.
        observation_space: the space observations lie in.
        action_space: the space actions are chosen from.
        renders: whether its batches can be drawn.
        reported: the names of what its batches report of each step in `info`, float32; NaN where they report nothing.
    """

    def __init__(
        self,
        name: str,
        make_batch: Callable[[int], HostBatch],
        observation_space: Space,
        action_space: Space,
        renders: bool = False,
        reported: tuple[str, ...] = (),
    ) -> None:
        self._name = name
        self._make_batch = make_batch
        self._observation_space = observation_space
        self._action_space = action_space
        self._renders = renders
        self._reported = reported

    @property
    def name(self) -> str:
        return self._name

    @property
    def batch_only(self) -> bool:
        return True

    @property
    def on_host(self) -> bool:
        return True

    def observation_space(self, params: PyTree) -> Space:
        return self._observation_space

    def action_space(self, params: PyTree) -> Space:
        return self._action_space

    def reset(self, key: Key, params: PyTree) -> NoReturn:
        self._refuse("reset")

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> NoReturn:
        self._refuse("stepped")

    def _refuse(self, verb: str) -> NoReturn:
        raise ValueError(f"{self.name} runs on the host in batches: it is {verb} by `vectorize(num_envs)`")

    def vectorize(self, num_envs: int) -> HostVectorEnvironment:
        return HostVectorEnvironment(self, num_envs, self._make_batch, self._reported)

    @property
    def renders(self) -> bool:
        return self._renders

    def render(self, env_state: HostState, params: PyTree) -> np.ndarray:
        """Draw one environment as it stands, uint8 `[H, W, 3]`.

        Args:
            env_state: the state of one environment, after the last step that its batch took.
            params: parameters of the environment.

        Raises:
            ValueError: if the environment cannot be drawn, has gone on since, or is closed.
        """
        if not self.renders:
            raise ValueError(f"{self.name} cannot be drawn")
        batch, index, time = (int(x) for x in (env_state.batch, env_state.index, env_state.time))
        return find(self.name, batch, time).batch.render(index)


class HostVectorEnvironment(VectorEnvironment):
    """Batches of environments on the host, of which every `reset` makes one of its own.

    A batch is closed by `close`; when it fails; when `OPEN_BATCHES` others were used since; when this object is gone;
    and when Python ends.
    """

    def __init__(
        self,
        env: HostEnvironment,
        num_envs: int,
        make_batch: Callable[[int], HostBatch],
        reported: tuple[str, ...] = (),
    ) -> None:
        super().__init__(env, num_envs)
        batches = HostBatches(env.name, num_envs, make_batch)
        weakref.finalize(self, batches.close_all)
        observation = _shapes(env.observation_space(None), num_envs)
        number, reward, flag = (
            jax.ShapeDtypeStruct((num_envs,), dtype) for dtype in (jnp.int32, jnp.float32, jnp.bool_)
        )
        self._reset = by_callback(env.name, batches.reset, (observation, number))
        step = (observation, reward, flag, flag, observation, dict.fromkeys(reported, reward), number)
        self._step = by_callback(env.name, batches.step, step)

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, HostState]:
        """Make new environments and start an episode in each. Returns `(observation, env_state)`."""
        seeds = jax.random.randint(key, (self.num_envs,), 0, jnp.iinfo(jnp.int32).max, jnp.int32)
        observation, batch = self._reset(seeds)
        index = jnp.arange(self.num_envs, dtype=jnp.int32)
        return observation, HostState(batch=batch, index=index, time=jnp.zeros_like(batch))

    def step(self, key: Key, env_state: HostState, action: PyTree, params: PyTree) -> StepResult:
        """Step each environment, as `Environment.step` does; `key` is not used.

        Raises:
            ValueError: while it runs, if `env_state` was stepped already or its environments are closed.
        """
        observation, reward, terminated, truncated, final_observation, reported, time = self._step(
            env_state.batch, env_state.time, action
        )
        info = {**reported, "final_observation": final_observation}
        return observation, env_state.replace(time=time), reward, terminated, truncated, info


def close(env_state: PyTree) -> None:
    """Close the environments on the host that a state names, if it does; allowed in compiled code.

    Args:
        env_state: the state of a batch of any environment, wrapped or not.
    """
    states = jax.tree.leaves(env_state, is_leaf=lambda x: isinstance(x, HostState))
    for state in states:
        if isinstance(state, HostState):
            by_callback("the environment", _close, ())(state.batch, state.time)


def _close(batch: np.ndarray, time: np.ndarray) -> tuple[()]:
    # `time` only makes it wait for the last step.
    close_batch(int(batch[0]))
    return ()


def _shapes(space: Space, num_envs: int) -> PyTree:
    """The shapes of `num_envs` elements of a space."""
    element = jax.eval_shape(space.sample, jax.random.key(0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_envs, *x.shape), x.dtype), element)
