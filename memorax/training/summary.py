"""What the training loop keeps of an iteration: sums over episodes and scalar metrics, never observations."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.evaluation.episodes import evaluated_episodes
from memorax.types import Array, Metrics, Transition

EPISODE_COLUMNS = ("return", "length", "episodes")
EVALUATION_COLUMNS = ("evaluation_return", "evaluation_length", "evaluation_episodes", "evaluation_unfinished")


@struct.dataclass
class Episodes:
    """Sums over episodes.

    Attributes:
        count: how many episodes.
        returns: the sum of their undiscounted returns.
        lengths: the sum of their lengths in steps.
        unfinished: how many of them had not ended when the evaluation did; 0 in training.
    """

    count: Array
    returns: Array
    lengths: Array
    unfinished: Array


def count_episodes(transition: Transition) -> Episodes:
    """Sum over the episodes that end within transitions `[B, T, ...]`."""
    ended = transition.info["returned_episode"]
    return Episodes(
        count=jnp.sum(ended, dtype=jnp.int32),
        returns=jnp.sum(jnp.where(ended, transition.info["returned_episode_returns"], 0.0)),
        lengths=jnp.sum(jnp.where(ended, transition.info["returned_episode_lengths"], 0), dtype=jnp.float32),
        unfinished=jnp.zeros((), jnp.int32),
    )


def count_evaluated_episodes(transition: Transition) -> Episodes:
    """Sum over the episodes of an evaluation `[B, T, ...]` that count; see `evaluated_episodes`."""
    episodes = evaluated_episodes(transition)
    return Episodes(
        count=jnp.sum(episodes.counted, dtype=jnp.int32),
        returns=jnp.sum(jnp.where(episodes.counted, episodes.returns, 0.0)),
        lengths=jnp.sum(jnp.where(episodes.counted, episodes.lengths, 0), dtype=jnp.float32),
        unfinished=jnp.sum(episodes.unfinished, dtype=jnp.int32),
    )


def summarize(transition: Transition, metrics: Metrics) -> tuple[Episodes, Metrics]:
    """Reduce one iteration; the `keep` of the training loop."""
    return count_episodes(transition), metrics


def episode_row(episodes: Episodes, seed: int) -> dict[str, float | int]:
    """The mean return, mean length and number of one seed's episodes, by `EPISODE_COLUMNS`; NaN where there are none.

    Args:
        episodes: leaves `[seeds, iterations]` or `[seeds]`.
        seed: index of the seed.
    """
    count = int(np.sum(episodes.count[seed]))
    returns = float(np.sum(episodes.returns[seed], dtype=np.float64))
    lengths = float(np.sum(episodes.lengths[seed], dtype=np.float64))
    means = (returns / count, lengths / count) if count else (np.nan, np.nan)
    return dict(zip(EPISODE_COLUMNS, (*means, count), strict=True))


def evaluation_row(episodes: Episodes | None, seed: int) -> dict[str, float | int]:
    """What one seed's evaluation found, by `EVALUATION_COLUMNS`; NaN where there was no evaluation.

    Args:
        episodes: leaves `[seeds]`.
        seed: index of the seed.
    """
    if episodes is None:
        return dict.fromkeys(EVALUATION_COLUMNS, np.nan)
    values = (*episode_row(episodes, seed).values(), int(episodes.unfinished[seed]))
    return dict(zip(EVALUATION_COLUMNS, values, strict=True))


def metrics_row(metrics: Metrics, seed: int) -> dict[str, float | int]:
    """One seed's metrics `[seeds, iterations]`, averaged over iterations; those that are NaN do not count."""
    row = {}
    for name in sorted(metrics):
        values = np.asarray(metrics[name][seed], np.float64)
        values = values[~np.isnan(values)]
        row[name] = float(values.mean()) if values.size else np.nan
    return row
