"""The running mean and variance of a stream of batches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from memorax.types import Array

CLIP = 10.0
RELATIVE_PRECISION = 1e-6
"""What varies by less than this part of its mean is constant: float32 holds seven digits."""
LARGEST = 1e15
"""What a sample counts as at most, so that its square and its distance to others stay in the range of float32."""


class RunningStatistics(struct.PyTreeNode):
    """Mean and variance of everything seen so far, each element on its own.

    Attributes:
        mean: `[...]`, float32.
        variance: `[...]`, float32.
        count: number of samples, `[...]`; float32, so that it may grow without end. Once it is too large to be added
            to, the statistics forget slowly.
        left_out: number of samples that were NaN or infinite, `[...]`, float32; they count in nothing else.
    """

    mean: Array
    variance: Array
    count: Array
    left_out: Array


def initial_statistics(shape: tuple[int, ...]) -> RunningStatistics:
    """The statistics of nothing: those of the first batch replace them."""
    zeros = jnp.zeros(shape, jnp.float32)
    return RunningStatistics(mean=zeros, variance=zeros, count=zeros, left_out=zeros)


def update_statistics(statistics: RunningStatistics, batch: Array, counts: Array | None = None) -> RunningStatistics:
    """The statistics after a batch `[B, ...]`, of the rows that count, bool `[B]`: by default all.

    Samples that are NaN or infinite are left out. A sample further than `max(10, sqrt(count))` deviations from the
    mean counts as one at that distance: so no single outlier can much more than double the variance, while a stream
    that really changes its scale is followed within a few dozen samples, and what is 0 but for one sample in a
    million keeps its variance.

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979, with
    variances in place of sums of squares, which stay in range however long the stream.
    """
    counts = jnp.ones(batch.shape[:1], bool) if counts is None else counts
    counts = jnp.expand_dims(counts, range(1, batch.ndim))  # (B, 1, ...)
    finite = jnp.isfinite(batch) & counts  # (B, ...)
    samples = without_outliers(statistics, jnp.where(finite, batch, 0).astype(jnp.float32))
    arrived = jnp.sum(finite, axis=0, dtype=jnp.float32)
    mean = jnp.sum(samples, axis=0, where=finite) / jnp.maximum(arrived, 1)
    variance = jnp.sum(jnp.square(samples - mean[None]), axis=0, where=finite) / jnp.maximum(arrived, 1)
    count = statistics.count + arrived
    weight = arrived / jnp.maximum(count, 1)
    difference = mean - statistics.mean
    within = (1 - weight) * statistics.variance + weight * variance
    between = weight * (1 - weight) * jnp.square(difference)
    return RunningStatistics(
        mean=jnp.where(arrived > 0, statistics.mean + weight * difference, statistics.mean),
        variance=jnp.where(arrived > 0, within + between, statistics.variance),
        count=count,
        left_out=statistics.left_out + jnp.sum(counts, axis=0, dtype=jnp.float32) - arrived,
    )


def without_outliers(statistics: RunningStatistics, samples: Array) -> Array:
    """`samples` `[B, ...]` as `update_statistics` counts them: none too far from the mean."""
    distance = jnp.sqrt(jnp.maximum(statistics.count, CLIP**2) * statistics.variance)
    near = jnp.clip(samples, (statistics.mean - distance)[None], (statistics.mean + distance)[None])
    return jnp.where(varies(statistics)[None], near, jnp.clip(samples, -LARGEST, LARGEST))


def varies(statistics: RunningStatistics) -> Array:
    """Whether each element differs from its mean by more than rounding: bool `[...]`."""
    rounding = jnp.square(RELATIVE_PRECISION * statistics.mean)
    return statistics.variance > jnp.maximum(rounding, jnp.finfo(jnp.float32).tiny)


def divide_by_deviation(statistics: RunningStatistics, value: Array) -> Array:
    """`value` `[B, ...]` by the standard deviation, clipped to +-10; what does not vary is not divided."""
    deviation = jnp.where(varies(statistics), jnp.sqrt(statistics.variance), 1.0)
    return jnp.clip(value / deviation[None], -CLIP, CLIP)


def standardize(statistics: RunningStatistics, value: Array) -> Array:
    """`value` `[B, ...]` less the mean, by the standard deviation, clipped to +-10: float32; NaN stays NaN."""
    return divide_by_deviation(statistics, value.astype(jnp.float32) - statistics.mean[None])


def for_all(statistics: RunningStatistics, batch_size: int) -> RunningStatistics:
    """A copy for each row of the batch: leaves `[B, ...]`, as those of every state of a batch are."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (batch_size, *x.shape)), statistics)


def of_one(statistics: RunningStatistics) -> RunningStatistics:
    """The inverse of `for_all`."""
    return jax.tree.map(lambda x: x[0], statistics)
