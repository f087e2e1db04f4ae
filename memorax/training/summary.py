"""What the training loop keeps of an iteration: sums over episodes and scalar metrics, never observations."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.types import Array, Metrics, Transition

EPISODE_COLUMNS = ("return", "length", "episodes")


@struct.dataclass
class Episodes:
    """Sums over the episodes that ended.

    Attributes:
        count: how many.
        returns: the sum of their undiscounted returns.
        lengths: the sum of their lengths in steps.
    """

    count: Array
    returns: Array
    lengths: Array


def count_episodes(transition: Transition) -> Episodes:
    """Sum over the episodes that end within transitions `[B, T, ...]`."""
    ended = transition.info["returned_episode"]
    return Episodes(
        count=jnp.sum(ended, dtype=jnp.int32),
        returns=jnp.sum(jnp.where(ended, transition.info["returned_episode_returns"], 0.0)),
        lengths=jnp.sum(jnp.where(ended, transition.info["returned_episode_lengths"], 0), dtype=jnp.float32),
    )


def evaluated_episodes(ended: Array) -> Array:
    """Which episodes of an evaluation count: the first `k` of each environment.

    `k` is the least number of episodes that any of the environments completed. Counting every episode that ends within
    the evaluation would count short ones too often, as more of them fit. Where some environment completed none, `k` is
    1: the first episode of each environment that completed one. Long episodes are then missing, and fewer episodes are
    counted than there are environments; a longer evaluation mends it.

    Args:
        ended: whether an episode ended with each step, `[B, T]` bool.

    Returns:
        `[B, T]` bool, true at the last step of each episode that counts.
    """
    number = jnp.cumsum(ended, axis=1)  # counted from one
    return ended & (number <= jnp.maximum(1, number[:, -1].min()))


def count_evaluated_episodes(transition: Transition) -> Episodes:
    """Sum over the episodes of an evaluation `[B, T, ...]` that count; see `evaluated_episodes`."""
    info = transition.info
    counted = {**info, "returned_episode": evaluated_episodes(info["returned_episode"])}
    return count_episodes(dataclasses.replace(transition, info=counted))


def summarize(transition: Transition, metrics: Metrics) -> tuple[Episodes, Metrics]:
    """Reduce one iteration; the `keep` of the training loop."""
    return count_episodes(transition), metrics


def episode_row(episodes: Episodes, seed: int, prefix: str = "") -> dict[str, float | int]:
    """Mean return and length of one seed's episodes.

    Args:
        episodes: leaves `[seeds, iterations]` or `[seeds]`.
        seed: index of the seed.
        prefix: what the columns' names start with.
    """
    count = int(np.sum(episodes.count[seed]))
    returns = float(np.sum(episodes.returns[seed], dtype=np.float64))
    lengths = float(np.sum(episodes.lengths[seed], dtype=np.float64))
    means = (returns / count, lengths / count) if count else (np.nan, np.nan)
    return {f"{prefix}{name}": value for name, value in zip(EPISODE_COLUMNS, (*means, count), strict=True)}


def metrics_row(metrics: Metrics, seed: int) -> dict[str, float | int]:
    """One seed's metrics `[seeds, iterations]`, averaged over iterations; those that are NaN do not count."""
    row = {}
    for name in sorted(metrics):
        values = np.asarray(metrics[name][seed], np.float64)
        values = values[~np.isnan(values)]
        row[name] = float(values.mean()) if values.size else np.nan
    return row
