"""From a rollout to minibatches: whole sequences, each with the carry it starts from."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.sharding import spread_over_devices
from memorax.types import Key, PyTree, Trajectory


def to_sequences(tree: PyTree, sequence_length: int) -> PyTree:
    """Cut `[B, T, ...]` into contiguous sequences `[B * C, sequence_length, ...]` with `C = T / sequence_length`."""
    return jax.tree.map(
        lambda x: x.reshape(x.shape[0] * x.shape[1] // sequence_length, sequence_length, *x.shape[2:]), tree
    )


def flatten_carries(carry: PyTree) -> PyTree:
    """Line up the carries `[B, C, ...]` of a rollout's sequences with `to_sequences`: `[B * C, ...]`."""
    return jax.tree.map(lambda x: jax.lax.collapse(x, 0, 2), carry)


def trajectory_sequences(trajectory: Trajectory, sequence_length: int) -> Trajectory:
    """Cut a rollout into sequences that are rollouts themselves.

    Args:
        trajectory: leaves `[B, T, ...]`, with the carry before each of the `C = T / sequence_length` sequences.
        sequence_length: steps of a sequence.

    Returns:
        A rollout with leaves `[B * C, sequence_length, ...]`, its carry `[B * C, 1, ...]`; the next timestep of each
        sequence, `[B * C, ...]`, is the first of the sequence that follows.
    """
    following = jax.tree.map(
        lambda x, last: jnp.concatenate([x[:, sequence_length::sequence_length], last[:, None]], axis=1),
        trajectory.timesteps,
        trajectory.next_timestep,
    )
    next_timestep, carry = flatten_carries((following, trajectory.carry))
    steps = to_sequences(trajectory.replace(carry=None, next_timestep=None), sequence_length)
    return steps.replace(carry=jax.tree.map(lambda x: x[:, None], carry), next_timestep=next_timestep)


def minibatches(key: Key, tree: PyTree, num_minibatches: int) -> PyTree:
    """Shuffle sequences and deal them out.

    Args:
        key: random key.
        tree: leaves `[N, ...]`, one sequence (or its carry) per row.
        num_minibatches: number of minibatches; divides `N`.

    Returns:
        Leaves `[num_minibatches, N / num_minibatches, ...]`.
    """
    num_sequences = jax.tree.leaves(tree)[0].shape[0]
    order = jax.random.permutation(key, num_sequences).reshape(num_minibatches, -1)
    return spread_over_devices(jax.tree.map(lambda x: jnp.take(x, order, axis=0), tree), axis=1)
