"""Batches of environments on the host: made by seed, kept open, and closed."""

from __future__ import annotations

import abc
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from memorax.types import PyTree

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

    def info(self) -> dict[str, np.ndarray]:
        """What the environments reported of the last step: float32 `[B]` by the names the environment announced."""
        return {}

    @abc.abstractmethod
    def close(self) -> None:
        """Release what the environments hold: processes, windows, files."""

    def render(self, index: int) -> np.ndarray:
        """A picture of one environment, uint8 `[H, W, 3]`; only called where the environment says that it renders."""
        raise NotImplementedError


@dataclass
class OpenBatch:
    """An open batch, its owner and the number of steps it has taken."""

    batch: HostBatch
    owner: HostBatches
    time: int = 0


_open: OrderedDict[int, OpenBatch] = OrderedDict()
"""Every batch that is open by its number, in the order of their last use."""


class HostBatches:
    """The batches of one vectorised environment.

    Args:
        name: name of the environment, for messages.
        num_envs: number of environments in each batch.
        make_batch: function that makes a batch.
    """

    def __init__(self, name: str, num_envs: int, make_batch: Callable[[int], HostBatch]) -> None:
        self.name = name
        self.num_envs = num_envs
        self.make_batch = make_batch

    def reset(self, seeds: np.ndarray) -> tuple[PyTree, np.ndarray]:
        """Open a batch. Returns its first observations and, once for each environment, its number."""
        # Drawn at random, so that a process that goes on with a saved state takes no batch of its own for it.
        number = secrets.randbits(31)
        _open[number] = OpenBatch(self.make_batch(self.num_envs), self)
        for rested in self._numbers()[:-OPEN_BATCHES]:
            close_batch(rested)
        with _closed_if_it_fails(number):
            return _open[number].batch.reset(seeds), np.full(self.num_envs, number, np.int32)

    def step(self, batch: np.ndarray, time: np.ndarray, action: PyTree) -> tuple[PyTree, ...]:
        """Step the batch of that number, which must have taken `time` steps.

        Returns a `HostStep`, what was reported of it and the new time.
        """
        number = int(batch[0])
        opened = find(self.name, number, int(time[0]))
        _open.move_to_end(number)
        with _closed_if_it_fails(number):
            observation, reward, terminated, truncated, final_observation = opened.batch.step(action)
        opened.time += 1
        reward, time = np.asarray(reward, np.float32), np.full(self.num_envs, opened.time, np.int32)
        reported = opened.batch.info()
        return observation, reward, terminated, truncated & ~terminated, final_observation, reported, time

    def close_all(self) -> None:
        """Close all open batches."""
        for number in self._numbers():
            close_batch(number)

    def _numbers(self) -> list[int]:
        return [number for number, opened in _open.items() if opened.owner is self]


def find(name: str, number: int, time: int) -> OpenBatch:
    """The batch of that number, as it stands after `time` steps.

    Raises:
        ValueError: if it is closed or has taken another number of steps; `name` is that of its environment.
    """
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


def close_batch(number: int) -> None:
    """Close the batch of that number, if it is open."""
    if number in _open:
        _open.pop(number).batch.close()


@contextmanager
def _closed_if_it_fails(number: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # What failed may fail to close too; the first failure is the one that matters.
        with suppress(Exception):
            close_batch(number)
        raise
