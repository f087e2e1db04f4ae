"""A random choice among the marked squares of a board."""

from __future__ import annotations

import jax.numpy as jnp

from memorax.types import Array


def choose(bits: Array, candidates: Array) -> tuple[Array, Array]:
    """Choose one of the places where `candidates` holds, each equally likely (up to the remainder of 32 bits).

    Args:
        bits: 32 random bits, a uint32 scalar.
        candidates: bool, `[rows, columns]`.

    Returns:
        Row and column, int32 scalars; the last of both where nothing holds.
    """
    # First the row, then the place in it: two short sums instead of one over all places.
    row_ends = jnp.cumsum(jnp.sum(candidates, axis=1, dtype=jnp.int32))
    index = (bits % jnp.maximum(row_ends[-1], 1).astype(jnp.uint32)).astype(jnp.int32)
    row = jnp.minimum(jnp.sum(row_ends <= index, dtype=jnp.int32), candidates.shape[0] - 1)
    in_row = candidates[row].astype(jnp.int32)
    place_ends = jnp.cumsum(in_row) + row_ends[row] - jnp.sum(in_row)
    column = jnp.minimum(jnp.sum(place_ends <= index, dtype=jnp.int32), candidates.shape[1] - 1)
    return row, column
