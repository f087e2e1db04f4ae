"""Mean and variance of a stream of batches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from memorax.types import Array

CLIP = 10.0
LEAST_VARIANCE = 1e-8


class RunningStatistics(struct.PyTreeNode):
    """Mean and variance of everything seen so far.

    Attributes:
        mean: `[...]`, float32.
        variance: `[...]`, float32.
        count: how many samples; a float32, so that it may grow without end. Once it is too large to be added to, the
            statistics forget slowly.
    """

    mean: Array
    variance: Array
    count: Array


def initial_statistics(shape: tuple[int, ...]) -> RunningStatistics:
    """The statistics of nothing: those of the first batch replace them."""
    return RunningStatistics(mean=jnp.zeros(shape), variance=jnp.zeros(shape), count=jnp.zeros(()))


def update_statistics(statistics: RunningStatistics, batch: Array) -> RunningStatistics:
    """The statistics after a batch `[B, ...]`.

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979, with
    variances in place of sums of squares, which stay in range however long the stream.
    """
    batch = batch.astype(jnp.float32)
    count = statistics.count + batch.shape[0]
    weight = batch.shape[0] / count
    difference = jnp.mean(batch, axis=0) - statistics.mean
    within = (1 - weight) * statistics.variance + weight * jnp.var(batch, axis=0)
    between = weight * (1 - weight) * jnp.square(difference)
    return RunningStatistics(mean=statistics.mean + weight * difference, variance=within + between, count=count)


def divide_by_deviation(statistics: RunningStatistics, value: Array) -> Array:
    """`value` `[B, ...]` by the standard deviation, clipped to +-10; what hardly varies is not divided."""
    varies = statistics.variance > LEAST_VARIANCE
    deviation = jnp.where(varies, jnp.sqrt(statistics.variance), 1.0)
    return jnp.clip(value / deviation[None], -CLIP, CLIP)


def standardize(statistics: RunningStatistics, value: Array) -> Array:
    """`value` `[B, ...]` less the mean, by the standard deviation, clipped to +-10: float32."""
    return divide_by_deviation(statistics, value.astype(jnp.float32) - statistics.mean[None])


def for_all(statistics: RunningStatistics, num_envs: int) -> RunningStatistics:
    """A copy for each environment: leaves `[B, ...]`, as those of every state of a batch are."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *x.shape)), statistics)


def of_one(statistics: RunningStatistics) -> RunningStatistics:
    """The inverse of `for_all`."""
    return jax.tree.map(lambda x: x[0], statistics)
