"""The two halves of the actions: even integers and odd ones, counted among the legal, or signs of numbers."""

from __future__ import annotations

import jax
import numpy as np

from memorax.networks.network import action_mask
from memorax.testing.assertions import is_float
from memorax.types import Array, PyTree


def half_of(action: PyTree, observation: PyTree) -> tuple[np.ndarray, np.ndarray]:
    """1 for one half of the actions and -1 for the other, and where there was a choice: `[B, T]`.

    One half is even integers and positive numbers; of several at once it is the mean.
    """
    legal = _legal(observation)
    if legal is not None:
        action = np.take_along_axis(_ranks(legal), np.asarray(action)[..., None], axis=-1)[..., 0]
    leaves = [np.asarray(x) for x in jax.tree.leaves(action)]
    signs = [np.where(x > 0 if is_float(x) else x % 2 == 0, 1.0, -1.0) for x in leaves]
    rows = np.concatenate([x.reshape(*x.shape[:2], -1) for x in signs], axis=-1)
    half = rows.mean(axis=-1).astype(np.float32)
    return half, np.ones(half.shape, bool) if legal is None else legal.sum(axis=-1) > 1


def moved_to_half(action: PyTree, observation: PyTree, half: np.ndarray, largest: PyTree) -> PyTree:
    """Actions near those given that lie in the halves asked for, wherever there is a choice.

    Args:
        action: leaves `[B, T, ...]`.
        observation: what they answer, which may say what is legal.
        half: 1 or -1, `[B, T]`.
        largest: the largest value of each leaf of an action, `[...]`.
    """
    legal = _legal(observation)
    if legal is not None:
        rank = np.where((half > 0) | (legal.sum(axis=-1) < 2), 0, 1)
        of_rank = legal & (_ranks(legal) == rank[..., None])  # (B, T, A)
        return of_rank.argmax(axis=-1).astype(action.dtype)

    def moved(x: Array, limit: np.ndarray) -> np.ndarray:
        first_half = (half > 0).reshape(*half.shape, *(1,) * (x.ndim - 2))
        if is_float(x):
            return np.where(first_half, 1, -1).astype(x.dtype) * np.abs(x)
        even = np.asarray(x) - np.asarray(x) % 2
        odd = np.where(even < limit, even + 1, np.maximum(even - 1, 0))
        return np.where(first_half, even, odd).astype(x.dtype)

    return jax.tree.map(moved, action, largest)


def _legal(observation: PyTree) -> np.ndarray | None:
    """Which actions may be chosen, bool `[B, T, A]`: all, where a row allows none."""
    mask = action_mask(observation)
    return None if mask is None else np.asarray(mask) | ~np.asarray(mask).any(axis=-1, keepdims=True)


def _ranks(legal: np.ndarray) -> np.ndarray:
    """How many legal actions come before each, `[B, T, A]`."""
    return legal.cumsum(axis=-1) - 1
