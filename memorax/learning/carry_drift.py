"""How far carries in replay have drifted from what the present parameters would make of the same history."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from memorax.buffers import BufferState
from memorax.buffers.storage import count_steps, layout, oldest_step, read_carry, read_steps
from memorax.learning.losses import masked_mean
from memorax.learning.replay import ReplayedSteps
from memorax.networks.network import Network, unroll
from memorax.types import Array, Carry, Key, PyTree, Timestep


class OutputDrift(NamedTuple):
    """How far the outputs of windows are off that start from stored carries: `[N, W, L]`.

    Attributes:
        error: `|output(stored) - output(whole)| / max |output(whole)|` at each step, the norm taken over the output.
        counts: whether the episode began within the stretch and none begins in the window up to there, bool: elsewhere
            the carry of the whole is unknown, or no longer made of the stored one.
    """

    error: Array
    counts: Array


def output_drift(network: Network, params: PyTree, timesteps: Timestep, carries: Carry, length: int) -> OutputDrift:
    """Compare outputs from stored carries with those from whole episodes (Kapturowski et al., 2019, section 3.1).

    Args:
        network: the network.
        params: variables of the network.
        timesteps: a stretch of the history of environments, leaves `[N, C * period, ...]`.
        carries: carries stored before every `period`-th step, leaves `[N, C, ...]`.
        length: steps of a window, `L`: there is one from each stored carry that has so many steps after it, `W` of
            them.
    """
    num_steps, num_carries = timesteps.done.shape[1], jax.tree.leaves(carries)[0].shape[1]
    starts = jnp.arange(0, num_steps - length + 1, num_steps // num_carries)
    steps = starts[:, None] + jnp.arange(length)[None]  # (W, L)
    _, whole = unroll(network, params, timesteps, jax.tree.map(lambda x: x[:, 0], carries))
    windows = jax.tree.map(lambda x: x[:, steps], timesteps)  # (N, W, L, ...)
    first_carries = jax.tree.map(lambda x: x[:, : len(starts)], carries)
    flat = jax.tree.map(lambda x: jax.lax.collapse(x, 0, 2), (windows, first_carries))
    _, stored = unroll(network, params, *flat)
    expected = network.head.numbers(whole)[:, steps]  # (N, W, L, A)
    found = network.head.numbers(stored).reshape(expected.shape)
    error = jnp.linalg.norm(jnp.where(jnp.isfinite(expected), found - expected, 0.0), axis=-1)
    scale = jnp.max(jnp.abs(jnp.where(jnp.isfinite(expected), expected, 0.0)), axis=-1)
    begun = jnp.cumsum(timesteps.done, axis=1)[:, starts] > 0  # (N, W)
    goes_on = jnp.cumsum(windows.done, axis=-1) == 0  # (N, W, L)
    return OutputDrift(error / jnp.maximum(scale, 1e-8), begun[..., None] & goes_on)


def carry_drift(
    network: Network, params: PyTree, steps: ReplayedSteps, carries: Carry, burn_in: int
) -> tuple[Array, Array]:
    """`output_drift` at the first step after the burn-in of each sequence, but of agents that have gone out by then.

    Args:
        network: an action-value network.
        params: variables of the network.
        steps: a stretch of the history of environments, leaves `[N, C * period, ...]`.
        carries: carries stored before every `period`-th step, leaves `[N, C, ...]`.
        burn_in: steps between a stored carry and the comparison, at most `period - 1` of them.

    Returns:
        `(drift, is_known)`: the mean over the sequences that count, and whether one does, bool; scalars. The drift is
        NaN where none does.
    """
    period = steps.timesteps.done.shape[1] // jax.tree.leaves(carries)[0].shape[1]
    error, counts = output_drift(network, params, steps.timesteps, carries, period)
    index = min(burn_in, period - 1)
    counts = counts[..., index] & steps.active[:, index::period]  # (N, C)
    drift = masked_mean(error[..., index], counts)
    return jnp.where(counts.any(), drift, jnp.nan), counts.any()


def sampled_carry_drift(
    key: Key, network: Network, params: PyTree, buffer: BufferState, burn_in: int, num_sequences: int
) -> tuple[Array, Array]:
    """`carry_drift` over a stretch of one environment's history, drawn at random from a buffer.

    It is not known before the buffer holds a whole stretch.

    Args:
        key: random key.
        network: an action-value network with a carry.
        params: variables of the network.
        buffer: the buffer's state, of `ReplayedSteps`.
        burn_in: steps of the burn-in, as in `carry_drift`.
        num_sequences: stored carries in the stretch, at most as many as the buffer keeps.
    """
    steps, carries, whole = sampled_stretch(key, buffer, num_sequences)
    drift, is_known = carry_drift(network, params, steps, carries, burn_in)
    return jnp.where(whole, drift, jnp.nan), whole & is_known


def sampled_stretch(key: Key, buffer: BufferState, num_sequences: int) -> tuple[ReplayedSteps, Carry, Array]:
    """A stretch of one environment's history, drawn at random from a buffer.

    Args:
        key: random key.
        buffer: the buffer's state, of `ReplayedSteps`.
        num_sequences: stored carries in the stretch, `C`, at most as many as the buffer keeps.

    Returns:
        `(steps, carries, whole)`: leaves `[1, C * period, ...]`, leaves `[1, C, ...]`, and whether the buffer holds
        that many, a bool scalar.
    """
    storage, sizes = buffer.storage, layout(buffer.storage)
    num_sequences = min(num_sequences, sizes.num_chunks)
    env_key, start_key = jax.random.split(key)
    env = jax.random.randint(env_key, (1,), 0, sizes.num_envs)
    starts = count_steps(storage) // sizes.period - num_sequences + 1
    start = jax.random.randint(start_key, (1,), 0, jnp.maximum(starts, 1))
    first = oldest_step(storage) + start * sizes.period  # (1,)
    steps = read_steps(storage, env, first[:, None] + jnp.arange(num_sequences * sizes.period)[None])
    chunks = first + jnp.arange(num_sequences) * sizes.period  # (C,)
    carries = read_carry(storage, jnp.broadcast_to(env, chunks.shape), chunks)
    return steps, jax.tree.map(lambda x: x[None], carries), starts > 0
