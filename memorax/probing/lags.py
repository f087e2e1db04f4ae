"""Averages over what lies a number of steps apart within an episode."""

from __future__ import annotations

import numpy as np


def episode_numbers(done: np.ndarray) -> np.ndarray:
    """Which episode of its row each step belongs to, int `[B, T]`.

    Args:
        done: whether a step is the first of an episode, bool `[B, T]`.
    """
    return np.cumsum(done, axis=1)


def steps_before(done: np.ndarray, times: np.ndarray, max_lag: int) -> tuple[np.ndarray, np.ndarray]:
    """The steps that lie 0, 1, ..., `max_lag` before some steps.

    Args:
        done: whether a step is the first of an episode, bool `[B, T]`.
        times: the steps to look back from, int `[N]`.
        max_lag: the largest number of steps to look back, `K`.

    Returns:
        `(sources, valid)`: the steps looked back to, int `[N, K + 1]` and at least 0, and whether they exist and belong
        to the same episode, bool `[B, N, K + 1]`.
    """
    sources = times[:, None] - np.arange(max_lag + 1)  # (N, K + 1)
    episodes = episode_numbers(done)
    looked_back_to = np.maximum(sources, 0)
    valid = (sources >= 0) & (episodes[:, looked_back_to] == episodes[:, times][:, :, None])
    return looked_back_to, valid


def mean_by_lag(values: np.ndarray, done: np.ndarray, times: np.ndarray, max_lag: int) -> np.ndarray:
    """The mean of what earlier steps mean to later ones, by how many steps lie between them.

    Args:
        values: of each step looked back from and each step of the sequence, `[N, B, T]`.
        done: whether a step is the first of an episode, bool `[B, T]`.
        times: the steps looked back from, int `[N]`.
        max_lag: the largest number of steps between the two, `K`.

    Returns:
        `[K + 1]`: the mean over the pairs of steps of one episode; NaN where there is no such pair.
    """
    sources, valid = steps_before(done, times, max_lag)
    rows, looks = np.arange(done.shape[0])[:, None, None], np.arange(len(times))[None, :, None]
    found = values[looks, rows, sources[None]]  # (B, N, K + 1)
    total, count = np.where(valid, found, 0.0).sum(axis=(0, 1)), valid.sum(axis=(0, 1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
