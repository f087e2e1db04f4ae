"""The running mean and variance of a stream of batches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from memorax.types import Array

CLIP = 10.0
RELATIVE_PRECISION = 1e-6
"""What varies by less than this part of its mean is constant: float32 holds seven digits."""
LARGEST = 1e18
"""What a sample counts as at most, so that its square and its distance to others stay in the range of float32."""
SURE_COUNT = 100.0
"""As many samples tell their deviation well enough for others to be called outliers."""


class RunningStatistics(struct.PyTreeNode):
    """Mean and variance of everything seen so far, each element on its own.

    Attributes:
        mean: `[...]`, float32.
        variance: `[...]`, float32.
        count: number of samples, `[...]`; float32, so that it may grow without end. Once it is too large to be added
            to, the statistics forget slowly.
        left_out: number of samples that were NaN or infinite, `[...]`, float32; they count in nothing else.
        smallest: the smallest sample, `[...]`, float32; infinite until there are two.
        largest: the largest sample, `[...]`, float32; minus infinity until there is one.
        middle_mean: mean of all samples but these two, `[...]`, float32.
        middle_variance: variance of all samples but these two, `[...]`, float32.
    """

    mean: Array
    variance: Array
    count: Array
    left_out: Array
    smallest: Array
    largest: Array
    middle_mean: Array
    middle_variance: Array


def initial_statistics(shape: tuple[int, ...]) -> RunningStatistics:
    """The statistics of nothing: those of the first batch replace them."""
    zeros, infinite = jnp.zeros(shape, jnp.float32), jnp.full(shape, jnp.inf, jnp.float32)
    return RunningStatistics(
        mean=zeros,
        variance=zeros,
        count=zeros,
        left_out=zeros,
        smallest=infinite,
        largest=-infinite,
        middle_mean=zeros,
        middle_variance=zeros,
    )


def update_statistics(statistics: RunningStatistics, batch: Array, counts: Array | None = None) -> RunningStatistics:
    """The statistics after a batch `[B, ...]`, of the rows that count, bool `[B]`: by default all.

    Samples that are NaN or infinite are left out. A sample further than `max(10, sqrt(count))` deviations from the
    mean counts as one at that distance: so no single outlier can much more than double the variance, while a stream
    that really changes its scale is followed within a few dozen samples, and what is 0 but for one sample in a
    million keeps its variance.

    Of the first samples none is known to be the outlier. So the smallest and the largest sample of all are kept apart,
    and count by their distance from the others as it is by now. Where all others are equal they count as they are.

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979, with
    variances in place of sums of squares, which stay in range however long the stream.
    """
    counts = jnp.ones(batch.shape[:1], bool) if counts is None else counts
    counts = jnp.expand_dims(counts, range(1, batch.ndim))  # (B, 1, ...)
    finite = jnp.isfinite(batch) & counts  # (B, ...)
    arrived = jnp.sum(finite, axis=0, dtype=jnp.float32)
    count = statistics.count + arrived

    kept_apart = jnp.stack([statistics.smallest, statistics.largest])  # (2, ...)
    pool = jnp.concatenate([kept_apart, jnp.clip(batch.astype(jnp.float32), -LARGEST, LARGEST)])  # (2 + B, ...)
    others = jnp.concatenate([jnp.isfinite(kept_apart), finite])
    largest, others = _taken_out(pool, others)
    smallest, others = _taken_out(-pool, others)
    smallest = -smallest

    middle = statistics.middle_mean, statistics.middle_variance, _middle_count(statistics.count)
    middle = _with_samples(*middle, _near(*middle, pool, SURE_COUNT), others)
    ends = jnp.stack([smallest, largest])
    mean, variance, _ = _with_samples(*middle, _near(*middle, ends, SURE_COUNT), jnp.isfinite(ends))
    return RunningStatistics(
        mean=mean,
        variance=variance,
        count=count,
        left_out=statistics.left_out + jnp.sum(counts, axis=0, dtype=jnp.float32) - arrived,
        smallest=smallest,
        largest=largest,
        middle_mean=middle[0],
        middle_variance=middle[1],
    )


def without_outliers(statistics: RunningStatistics, samples: Array) -> Array:
    """`samples` `[B, ...]`, none further than `max(10, sqrt(count))` deviations from the mean."""
    count = _middle_count(statistics.count)
    return _near(statistics.middle_mean, statistics.middle_variance, count, jnp.clip(samples, -LARGEST, LARGEST))


def varies(statistics: RunningStatistics) -> Array:
    """Whether each element differs from its mean by more than rounding: bool `[...]`."""
    return _varies(statistics.mean, statistics.variance)


def _varies(mean: Array, variance: Array) -> Array:
    return variance > jnp.maximum(jnp.square(RELATIVE_PRECISION * mean), jnp.finfo(jnp.float32).tiny)


def _middle_count(count: Array) -> Array:
    return jnp.maximum(count - 2, 0)


def _taken_out(pool: Array, present: Array) -> tuple[Array, Array]:
    """The largest of the samples `[N, ...]` that are present, minus infinity where none is; which are left."""
    present_only = jnp.where(present, pool, -jnp.inf)
    chosen = jnp.argmax(present_only, axis=0, keepdims=True)
    places = jnp.expand_dims(jnp.arange(len(pool)), range(1, pool.ndim))
    return jnp.max(present_only, axis=0), present & (places != chosen)


def _near(mean: Array, variance: Array, count: Array, samples: Array, sure_count: float = 1) -> Array:
    """Samples `[N, ...]`, none too far from the mean of others; as they are where these do not vary.

    Of fewer others than `sure_count` the deviation may be far too small: as much more is allowed as they are fewer.
    """
    deviations = jnp.maximum(CLIP * jnp.maximum(1, sure_count / jnp.maximum(count, 1)), jnp.sqrt(count))
    distance = deviations * jnp.sqrt(variance)
    near = jnp.clip(samples, (mean - distance)[None], (mean + distance)[None])
    return jnp.where(_varies(mean, variance)[None], near, samples)


def _with_samples(
    mean: Array, variance: Array, count: Array, samples: Array, present: Array
) -> tuple[Array, Array, Array]:
    """Mean, variance and count `[...]` once the samples `[N, ...]` that are present are added."""
    arrived = jnp.sum(present, axis=0, dtype=jnp.float32)
    # Divided before they are summed: the sum of many large samples would leave the range of float32.
    share = present / jnp.maximum(arrived, 1)[None]
    samples = jnp.where(present, samples, 0)
    own_mean = jnp.sum(samples * share, axis=0)
    own_variance = jnp.sum(jnp.square(samples - own_mean[None]) * share, axis=0)
    total = count + arrived
    weight = arrived / jnp.maximum(total, 1)
    difference = own_mean - mean
    between = weight * (1 - weight) * jnp.square(difference)
    return mean + weight * difference, (1 - weight) * variance + weight * own_variance + between, total


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
