"""How far carries in replay have drifted from what the present parameters would make of the same history."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.buffers import BufferState
from memorax.buffers.storage import count_steps, layout, oldest_step, read_carry, read_steps
from memorax.learning.replay import ReplayedSteps
from memorax.networks.network import Network, unroll
from memorax.types import Array, Carry, Key, PyTree


def carry_drift(network: Network, params: PyTree, steps: ReplayedSteps, carries: Carry, burn_in: int) -> Array:
    """Compare action values from stored carries with those from whole episodes.

    `|q(stored) - q(whole)| / max |q(whole)|` at the first step after the burn-in of each sequence, the norm taken over
    actions (Kapturowski et al., 2019, section 3.1). Sequences whose episode began before the stretch do not count, nor
    do those in which an episode begins during the burn-in: their carry is not the stored one.

    Args:
        network: an action-value network.
        params: variables of the network.
        steps: a stretch of the history of environments, leaves `[N, C * period, ...]`.
        carries: carries stored before every `period`-th step, leaves `[N, C, ...]`.
        burn_in: steps between a stored carry and the comparison, at most `period - 1` of them.

    Returns:
        The mean over the sequences that count, a scalar; NaN where none does.
    """
    num_sequences = jax.tree.leaves(carries)[0].shape[1]

    def flat(x: Array) -> Array:
        return jax.lax.collapse(x, 0, 2)

    def cut(x: Array) -> Array:
        return x.reshape(x.shape[0] * num_sequences, x.shape[1] // num_sequences, *x.shape[2:])

    first = jax.tree.map(lambda x: x[:, 0], carries)
    _, whole = unroll(network, params, steps.timesteps, first)
    sequences = jax.tree.map(cut, steps.timesteps)
    _, stored = unroll(network, params, sequences, jax.tree.map(flat, carries))
    index = min(burn_in, sequences.done.shape[1] - 1)
    q_whole = network.head.value(jax.tree.map(cut, whole))[:, index]  # (N * C, A)
    q_stored = network.head.value(stored)[:, index]
    error = jnp.linalg.norm(jnp.where(jnp.isfinite(q_whole), q_stored - q_whole, 0.0), axis=-1)
    scale = jnp.max(jnp.abs(jnp.where(jnp.isfinite(q_whole), q_whole, 0.0)), axis=-1)
    begun = flat(jnp.cumsum(steps.timesteps.done, axis=1).reshape(-1, num_sequences, sequences.done.shape[1])[:, :, 0])
    counts = (begun > 0) & ~sequences.done[:, : index + 1].any(axis=1)
    total = jnp.sum(jnp.where(counts, error / jnp.maximum(scale, 1e-8), 0.0))
    return jnp.where(counts.any(), total / jnp.maximum(counts.sum(), 1), jnp.nan)


def sampled_carry_drift(
    key: Key, network: Network, params: PyTree, buffer: BufferState, burn_in: int, num_sequences: int
) -> Array:
    """`carry_drift` over a stretch of one environment's history, drawn at random from a buffer.

    Args:
        key: random key.
        network: an action-value network with a carry.
        params: variables of the network.
        buffer: the buffer's state, of `ReplayedSteps`.
        burn_in: steps of the burn-in, as in `carry_drift`.
        num_sequences: stored carries in the stretch, at most as many as the buffer keeps.
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
    drift = carry_drift(network, params, steps, jax.tree.map(lambda x: x[None], carries), burn_in)
    return jnp.where(starts > 0, drift, jnp.nan)
