"""Priorities of windows, and draws in proportion to them (Schaul et al., 2016).

One exact table holds a weight per slot, the priority to the power of an exponent. There is no tree of sums to keep up
to date: a draw sums the table anew, so that no error accumulates however many updates are made. That reads the table
once, about 3 ms per million slots on a CPU core.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import struct

from memorax.buffers.buffer import Index
from memorax.types import Array, Key


class Priorities(struct.PyTreeNode):
    """Priorities of all slots, raised to the buffer's exponent.

    Attributes:
        table: the weight each slot is drawn in proportion to, where it is legal, float32 `[num_envs, num_slots]`.
        generation: number of times each slot has been written, the same for every environment, uint32 `[num_slots]`.
        largest: the greatest weight so far, given to new windows, float32 scalar, 1 at first.
    """

    table: Array
    generation: Array
    largest: Array


def init_priorities(num_envs: int, num_slots: int) -> Priorities:
    """The priorities of an empty buffer."""
    return Priorities(
        table=jnp.zeros((num_envs, num_slots), jnp.float32),
        generation=jnp.zeros((num_slots,), jnp.uint32),
        largest=jnp.ones((), jnp.float32),
    )


def renew(priorities: Priorities, slots: Array) -> Priorities:
    """Give slots `[K]` that are written anew, all different, the greatest weight so far, in every environment."""
    return priorities.replace(
        table=priorities.table.at[:, slots].set(priorities.largest),
        generation=priorities.generation.at[slots].add(jnp.uint32(1)),
    )


def set_weights(priorities: Priorities, index: Index, weight: Array) -> Priorities:
    """Replace weights.

    Left out are weights that are not finite and those of slots that have been written anew since they were drawn. Of
    several weights for one slot the greatest counts.

    Args:
        priorities: all of them.
        index: indices of the slots, `[N]`.
        weight: new weights of these entries, not negative, `[N]`.
    """
    num_envs, num_slots = priorities.table.shape
    current = priorities.generation[index.slot % num_slots] == index.generation
    written = current & jnp.isfinite(weight)
    slot = jnp.where(written, index.slot, num_envs * num_slots)  # out of the table: dropped
    weight = jnp.where(written, weight, 0.0).astype(jnp.float32)
    # Both scatters give the same whatever the order in which duplicates arrive.
    table = priorities.table.ravel().at[slot].set(0.0, mode="drop").at[slot].max(weight, mode="drop")
    return priorities.replace(
        table=table.reshape(num_envs, num_slots), largest=jnp.maximum(priorities.largest, weight.max())
    )


def draw(key: Key, weights: Array, num_draws: int) -> tuple[Array, Array]:
    """Draw entries of a table in proportion to their weights, independently and with replacement.

    The table is cut into about as many blocks as a block has entries; a first random number chooses the block by the
    sums of the blocks, a second one the entry in it. Two numbers resolve far smaller shares than one of 23 bits. An
    entry of weight zero is never drawn as long as another is positive.

    Args:
        key: random key.
        weights: finite and not negative, any shape.
        num_draws: number of draws.

    Returns:
        Which entries, numbered along the flattened table, int32 `[num_draws]`, and the probability of each, zero where
        nothing is positive.
    """
    length = math.isqrt(weights.size - 1) + 1
    num_blocks = -(-weights.size // length)
    # Sums of shares do not overflow; within these bounds the reciprocal of the greatest weight does not underflow.
    shares = weights.ravel() / jnp.clip(weights.max(), 1e-37, 1e37)
    blocks = jnp.pad(shares, (0, num_blocks * length - weights.size)).reshape(num_blocks, length)
    sums = blocks.sum(axis=1)
    block_key, entry_key = jax.random.split(key)
    block = _choose(jax.random.uniform(block_key, (num_draws,)), sums[None])
    entry = _choose(jax.random.uniform(entry_key, (num_draws,)), blocks[block])
    total = sums.sum()
    probability = blocks[block, entry] / jnp.where(total > 0.0, total, 1.0)
    return block * length + entry, probability


def _choose(fraction: Array, weights: Array) -> Array:
    """Where a fraction `[N]` of the total lies in weights `[N or 1, K]`: the last positive one that begins before it.

    Comparing beginnings rather than ends keeps entries of weight zero out, however the sums are rounded.
    """
    cumulative = jnp.cumsum(weights, axis=1)
    begins = cumulative - weights
    position = fraction[:, None] * cumulative[:, -1:]  # (N, 1)
    chosen = (weights > 0.0) & (begins <= position)
    return jnp.max(jnp.where(chosen, jnp.arange(weights.shape[1])[None], 0), axis=1)


def importance_weights(probability: Array, num_windows: Array, beta: float | Array) -> Array:
    """Weights that undo the bias of drawing windows unequally: `(N P)^-beta`, divided by the greatest of the batch.

    They multiply each window's loss (Schaul et al., 2016, Sec. 3.4).

    Args:
        probability: with which each window was drawn, `[batch_size]`.
        num_windows: number of windows to draw from, `N`.
        beta: 0 to leave the bias, 1 to undo it.

    Returns:
        Weights in `(0, 1]`, `[batch_size]`; all 1 where the probabilities are equal.
    """
    weights = (num_windows * probability) ** -beta
    return weights / weights.max()


def sequence_priority(absolute_td_errors: Array, mask: Array, eta: float | Array = 0.9) -> Array:
    """The priority of a sequence: `eta * max + (1 - eta) * mean` of its TD errors (Kapturowski et al., 2019, Sec. 2.3).

    Args:
        absolute_td_errors: absolute values of the n-step TD errors, not weighted, `[N, L]`.
        mask: whether each step has a loss, bool `[N, L]`; whatever the others hold is ignored.
        eta: the share of the greatest error.

    Returns:
        `[N]`; zero where no step has a loss.
    """
    errors = jnp.where(mask, absolute_td_errors, 0.0)
    mean = errors.sum(axis=-1) / jnp.maximum(mask.sum(axis=-1), 1)
    return eta * errors.max(axis=-1) + (1.0 - eta) * mean
