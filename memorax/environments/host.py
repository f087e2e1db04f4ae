"""Environments that run in Python on the host: compiled code leaves for them by callback, once a step for the batch."""

from __future__ import annotations

import abc
import logging
import secrets
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import io_callback

from memorax.environments.environment import Environment, StepResult, VectorEnvironment
from memorax.environments.spaces import Space
from memorax.types import Array, Key, PyTree

OPEN_BATCHES = 8
"""Batches that one vectorised environment keeps open; for one more, that which has rested the longest is closed."""

HostStep = tuple[PyTree, np.ndarray, np.ndarray, np.ndarray, PyTree]


class HostBatch(abc.ABC):
    """Environments side by side on the host; what a suite implements.

    Observations and actions are NumPy arrays `[B, ...]` of the shapes and types of the environment's spaces.
    """

    @abc.abstractmethod
    def reset(self, seeds: np.ndarray) -> PyTree:
        """Start an episode in each environment; all their randomness comes from `seeds`, int32 `[B]`, never negative.

        Called once, before anything else.
        """

    @abc.abstractmethod
    def step(self, action: PyTree) -> HostStep:
        """Step each environment, and start the next episode in those that ended.

        Returns `(observation, reward, terminated, truncated, final_observation)`: `final_observation` is what the
        action led to, and `observation` differs from it where an episode ended.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of what the environments hold."""

    def render(self, index: int) -> np.ndarray:
        """A picture of one environment, uint8 `[H, W, 3]`; only called where the environment says that it renders."""
        raise NotImplementedError


class HostState(struct.PyTreeNode):
    """Which environments on the host: leaves `[B]`.

    Attributes:
        batch: the number of their batch, the same in all of them.
        index: their place in it.
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
        name: what it is called in messages.
        make_batch: makes that many environments.
        observation_space: the space observations lie in.
        action_space: the space actions are chosen from.
        renders: whether its batches can be drawn.
    """

    def __init__(
        self,
        name: str,
        make_batch: Callable[[int], HostBatch],
        observation_space: Space,
        action_space: Space,
        renders: bool = False,
    ) -> None:
        self._name = name
        self._make_batch = make_batch
        self._observation_space = observation_space
        self._action_space = action_space
        self._renders = renders

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
        return HostVectorEnvironment(self, num_envs, self._make_batch)

    @property
    def renders(self) -> bool:
        return self._renders

    def render(self, env_state: HostState, params: PyTree) -> np.ndarray:
        """Draw one environment as it stands, uint8 `[H, W, 3]`.

        Args:
            env_state: the state of one environment, after the last step that its batch took.
            params: its parameters.

        Raises:
            ValueError: if the environment cannot be drawn, has gone on since, or is closed.
        """
        if not self.renders:
            raise ValueError(f"{self.name} cannot be drawn")
        batch, index, time = (int(x) for x in (env_state.batch, env_state.index, env_state.time))
        return _find(self.name, batch, time).batch.render(index)


class HostVectorEnvironment(VectorEnvironment):
    """Batches of environments on the host, of which every `reset` makes one of its own.

    A batch is closed by `close`; when it fails; when `OPEN_BATCHES` others were used since; when this object is gone;
    and when Python ends.
    """

    def __init__(self, env: HostEnvironment, num_envs: int, make_batch: Callable[[int], HostBatch]) -> None:
        super().__init__(env, num_envs)
        callbacks = _Callbacks(env.name, num_envs, make_batch)
        weakref.finalize(self, callbacks.close_all)
        observation = _shapes(env.observation_space(None), num_envs)
        number, reward, flag = (
            jax.ShapeDtypeStruct((num_envs,), dtype) for dtype in (jnp.int32, jnp.float32, jnp.bool_)
        )
        self._reset = _by_callback(env.name, callbacks.reset, (observation, number))
        self._step = _by_callback(env.name, callbacks.step, (observation, reward, flag, flag, observation, number))

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
        observation, reward, terminated, truncated, final_observation, time = self._step(
            env_state.batch, env_state.time, action
        )
        info = {"final_observation": final_observation}
        return observation, env_state.replace(time=time), reward, terminated, truncated, info


def close(env_state: PyTree) -> None:
    """Close the environments on the host that a state names, if it does; allowed in compiled code.

    Args:
        env_state: the state of a batch of any environment, wrapped or not.
    """
    states = jax.tree.leaves(env_state, is_leaf=lambda x: isinstance(x, HostState))
    for state in states:
        if isinstance(state, HostState):
            _by_callback("the environment", _close, ())(state.batch, state.time)


# On the host ------------------------------------------------------------------------------------------------------


@dataclass
class _Open:
    """A batch, the steps it has taken and who made it."""

    batch: HostBatch
    owner: _Callbacks
    time: int = 0


_open: OrderedDict[int, _Open] = OrderedDict()
"""Every batch that is open by its number, in the order of their last use."""


class _Callbacks:
    """What a vectorised environment calls on the host."""

    def __init__(self, name: str, num_envs: int, make_batch: Callable[[int], HostBatch]) -> None:
        self.name = name
        self.num_envs = num_envs
        self.make_batch = make_batch

    def reset(self, seeds: np.ndarray) -> tuple[PyTree, np.ndarray]:
        # Drawn at random, so that a process that goes on with a saved state takes no batch of its own for it.
        number = secrets.randbits(31)
        _open[number] = _Open(self.make_batch(self.num_envs), self)
        for rested in self._numbers()[:-OPEN_BATCHES]:
            _close_number(rested)
        with _closed_if_it_fails(number):
            return _open[number].batch.reset(seeds), np.full(self.num_envs, number, np.int32)

    def step(self, batch: np.ndarray, time: np.ndarray, action: PyTree) -> tuple[PyTree, ...]:
        number = int(batch[0])
        opened = _find(self.name, number, int(time[0]))
        _open.move_to_end(number)
        with _closed_if_it_fails(number):
            observation, reward, terminated, truncated, final_observation = opened.batch.step(action)
        opened.time += 1
        reward, time = np.asarray(reward, np.float32), np.full(self.num_envs, opened.time, np.int32)
        return observation, reward, terminated, truncated & ~terminated, final_observation, time

    def close_all(self) -> None:
        for number in self._numbers():
            _close_number(number)

    def _numbers(self) -> list[int]:
        return [number for number, opened in _open.items() if opened.owner is self]


def _find(name: str, number: int, time: int) -> _Open:
    opened = _open.get(number)
    if opened is None:
        raise ValueError(
            f"the environments of this state of {name} are closed: they run on the host, in the process that reset "
            f"them, where the {OPEN_BATCHES} batches used last stay open"
        )
    if opened.time != time:
        raise ValueError(
            f"this state of {name} was stepped already: environments on the host cannot be cloned; go on from the "
            "state that the last step returned"
        )
    return opened


def _close(batch: np.ndarray, time: np.ndarray) -> tuple[()]:
    _close_number(int(batch[0]))
    return ()


def _close_number(number: int) -> None:
    if number in _open:
        _open.pop(number).batch.close()


@contextmanager
def _closed_if_it_fails(number: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # What failed may fail to close too; the first failure is the one that matters.
        with suppress(Exception):
            _close_number(number)
        raise


# Callbacks, and what is raised in them ----------------------------------------------------------------------------


_raised: deque[BaseException] = deque(maxlen=8)
"""What was raised on the host since `own_errors` was entered."""


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise what an environment raised as itself, in place of what a compiled program makes of it.

    Inside, programs must be waited for.
    """
    _raised.clear()
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if not _raised:
            raise
        raise _raised.popleft() from None


def _by_callback(name: str, function: Callable[..., Any], shapes: PyTree) -> Callable[..., PyTree]:
    """A function of NumPy arrays as one of JAX arrays that compiled code may call, but `vmap` may not map.

    Args:
        name: of the environment, for messages.
        function: what is called on the host.
        shapes: of its results.
    """

    def on_host(*arguments: Any) -> Any:
        try:
            results = function(*jax.tree.map(np.asarray, arguments))
            _check(name, results, shapes)
        except BaseException as error:
            _raised.append(error)
            raise
        return results

    # Not ordered: each step needs what the one before it returned.
    @jax.custom_batching.custom_vmap
    def call(*arguments: Any) -> Any:
        return io_callback(on_host, shapes, *arguments)

    @call.def_vmap
    def mapped(axis_size: int, in_batched: Any, *arguments: Any) -> tuple[Any, Any]:
        if axis_size > 1:
            raise ValueError(f"{name} runs on the host, where `vmap` cannot map it over {axis_size} seeds or states")
        only = jax.tree.map(lambda x, batched: x[0] if batched else x, arguments, tuple(in_batched))
        results = jax.tree.map(lambda x: x[None], call(*only))
        return results, jax.tree.map(lambda _: True, results)

    return call


def _check(name: str, results: PyTree, shapes: PyTree) -> None:
    found = jax.tree.map(lambda x: (x.shape, str(x.dtype)), results)
    expected = jax.tree.map(lambda x: (x.shape, str(x.dtype)), shapes)
    if found != expected:
        raise ValueError(f"{name} returned arrays {found} where its spaces say {expected}")


def _shapes(space: Space, num_envs: int) -> PyTree:
    """The shapes of `num_envs` elements of a space."""
    element = jax.eval_shape(space.sample, jax.random.key(0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_envs, *x.shape), x.dtype), element)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Whether a log record of JAX is about anything but what `own_errors` raises."""
    return not (record.exc_info and record.exc_info[1] in _raised)


logging.getLogger("jax._src.callback").addFilter(_is_not_ours)
