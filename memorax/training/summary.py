"""What the training loop keeps of an iteration: sums over episodes and scalar metrics, never observations."""

from __future__ import annotations

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.evaluation.episodes import evaluated_episodes
from memorax.types import Array, Metrics, Transition

EPISODE_COLUMNS = ("return", "length", "episodes")
EVALUATION_COLUMNS = ("evaluation_return", "evaluation_length", "evaluation_episodes", "evaluation_unfinished")

UPDATES = "updates"
"""The metric by which an algorithm that does not learn in every iteration says how many updates it made in one."""

IS_KNOWN = "_is_known"
"""How the name of a metric ends that says in which iterations another one, called as what comes before, has a value."""


@struct.dataclass
class Episodes:
    """Sums over episodes.

    Attributes:
        count: number of episodes.
        returns: the sum of their undiscounted returns.
        lengths: the sum of their lengths in steps.
        unfinished: number of these episodes that had not ended when the evaluation did; 0 in training.
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
    """The mean return, mean length and number of one seed's episodes, by `EPISODE_COLUMNS`; 0 alone if there are none.

    Args:
        episodes: leaves `[seeds, iterations]` or `[seeds]`.
        seed: index of the seed.
    """
    count = int(np.sum(episodes.count[seed]))
    if not count:
        return {"episodes": 0}
    returns = float(np.sum(episodes.returns[seed], dtype=np.float64))
    lengths = float(np.sum(episodes.lengths[seed], dtype=np.float64))
    return dict(zip(EPISODE_COLUMNS, (returns / count, lengths / count, count), strict=True))


def evaluation_row(episodes: Episodes, seed: int) -> dict[str, float | int]:
    """What one seed's evaluation found, by `EVALUATION_COLUMNS`.

    Args:
        episodes: leaves `[seeds]`.
        seed: index of the seed.
    """
    found = {f"evaluation_{name}": value for name, value in episode_row(episodes, seed).items()}
    return {**found, "evaluation_unfinished": int(episodes.unfinished[seed])}


def metrics_columns(names: Iterable[str]) -> list[str]:
    """The names of metrics that rows may have."""
    return sorted(name for name in names if not name.endswith(IS_KNOWN))


def metrics_row(metrics: Metrics, seed: int) -> dict[str, float | int]:
    """One seed's metrics, averaged over iterations. NaN in one iteration makes the mean NaN.

    Where the algorithm has the metric "updates", it is summed, and NaN in iterations without an update says that there
    is nothing yet: they do not count, and a metric that has nothing else is left out. So does a metric with another one
    beside it, called as it is with `_is_known` behind, in iterations where that is 0.

    Args:
        metrics: leaves `[seeds, iterations]`.
        seed: index of the seed.
    """
    values = {name: np.asarray(metrics[name][seed], np.float64) for name in sorted(metrics)}
    updates = values.pop(UPDATES, None)
    known_in = {name: values.pop(name + IS_KNOWN) for name in list(values) if name + IS_KNOWN in values}
    row: dict[str, float | int] = {}
    for name, column in values.items():
        known = column if updates is None else column[(updates > 0) | ~np.isnan(column)]
        if name in known_in:
            known = column[known_in[name] > 0]
        if known.size:
            row[name] = float(known.mean())
    return row if updates is None else {**row, UPDATES: int(updates.sum())}
