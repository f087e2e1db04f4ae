"""How far carries that were made by earlier parameters have drifted from those of the present ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from memorax.buffers import BufferState
from memorax.buffers.storage import layout
from memorax.learning.carry_drift import OutputDrift, output_drift, sampled_stretch
from memorax.networks.network import Network
from memorax.probing.carries import carries_along
from memorax.types import Carry, Key, PyTree, Timestep

STRETCHES = 32
"""How many stretches of history are drawn from a buffer."""

STRETCH_STEPS = 128
"""About how many steps a stretch has."""


@dataclass(frozen=True)
class Drift:
    """How far outputs are off that start from stored carries, by the steps taken since.

    Attributes:
        by_step: mean of `|output(stored) - output(whole)| / max |output(whole)|`, `[L]`; NaN where nothing counts.
        source: where the carries come from.
    """

    by_step: np.ndarray
    source: str


def drift_of_earlier_parameters(
    network: Network,
    params: PyTree,
    earlier: PyTree,
    timesteps: Timestep,
    carry: Carry,
    period: int,
    length: int,
    source: str,
) -> Drift:
    """Drift of carries that earlier parameters make of the same history.

    Args:
        network: a network with a carry.
        params: its present variables.
        earlier: its variables at an earlier time.
        timesteps: a history, leaves `[B, T, ...]`; the first step of each row starts an episode.
        carry: the torso's carry before the first step.
        period: steps between two stored carries; divides `T`.
        length: steps that are looked at after each.
        source: where the earlier variables come from, in words.
    """

    @jax.jit
    def compare(params: PyTree, earlier: PyTree, timesteps: Timestep, carry: Carry) -> OutputDrift:
        after = carries_along(network, earlier, timesteps, carry)
        before = jax.tree.map(lambda first, x: jnp.concatenate([first[:, None], x[:, :-1]], axis=1), carry, after)
        stored = jax.tree.map(lambda x: x[:, ::period], before)
        return output_drift(network, params, timesteps, stored, length)

    return Drift(_mean_by_step(compare(params, earlier, timesteps, carry)), source)


def drift_in_buffer(
    key: Key,
    network: Network,
    params: PyTree,
    buffer: BufferState,
    acting_carries: Callable[[PyTree], Carry],
    length: int,
    source: str,
) -> Drift | None:
    """Drift of the carries in a replay buffer.

    Args:
        key: random key, of which parts of the history are looked at.
        network: a network with a carry.
        params: its present variables.
        buffer: the buffer's state, of `ReplayedSteps`.
        acting_carries: takes the network's carries out of those that the buffer keeps.
        length: steps that are looked at after each carry.
        source: name of the buffer, in words.

    Returns:
        The drift; None where the buffer keeps no carries, or no stretch that is long enough.
    """
    if not jax.tree.leaves(acting_carries(buffer.storage.experience.carry)):
        return None
    sizes = layout(buffer.storage)
    num_carries = min(-(-max(STRETCH_STEPS, 2 * length) // sizes.period), sizes.num_chunks)
    length = min(length, num_carries * sizes.period)

    def compare(params: PyTree, buffer: BufferState, key: Key) -> OutputDrift:
        steps, carries, whole = sampled_stretch(key, buffer, num_carries)
        drift = output_drift(network, params, steps.timesteps, acting_carries(carries), length)
        return drift._replace(counts=drift.counts & whole)

    keys = jax.random.split(key, STRETCHES)
    drift = jax.jit(functools.partial(jax.lax.map, functools.partial(compare, params, buffer)))(keys)
    by_step = _mean_by_step(jax.tree.map(lambda x: x[:, 0], drift))
    return None if np.isnan(by_step).all() else Drift(by_step, source)


def _mean_by_step(drift: OutputDrift) -> np.ndarray:
    error, counts = np.asarray(drift.error), np.asarray(drift.counts)
    total, number = np.where(counts, error, 0.0).sum(axis=(0, 1)), counts.sum(axis=(0, 1))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
