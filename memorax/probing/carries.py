"""What a network's carry is like along episodes: how large it is, and how much of it survives."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.network import Network, unroll_step
from memorax.types import Array, Carry, Key, PyTree, Timestep


@dataclass(frozen=True)
class Survival:
    """How much of a carry is left after some steps of an episode.

    A carry that is changed by a small amount in a random direction is, `k` steps later, changed by `by_lag[k]` times as
    much: `by_lag[k]` is the root mean square of the singular values of the derivative of the carry at `t + k` by that
    at `t`. Of a linear recurrence with decays `lambda` it is the root mean square of `|lambda|^k`.

    Attributes:
        by_lag: `[K + 1]`, 1 at 0; NaN where no episode is that long.
        units: `[K + 1, D]`, how much of each number of the carry is left, in whichever numbers: `|lambda|^k` of a unit
            that decays by `lambda`.
    """

    by_lag: np.ndarray
    units: np.ndarray

    @property
    def time_scales(self) -> np.ndarray:
        """Steps `[D]` in which each number of the carry falls to 1/e, if it goes on as in its first step, ascending.

        Infinite where it does not fall at all, 0 where nothing is left; empty where every episode has one step.
        """
        kept = np.minimum(self.units[1:2].ravel(), 1.0)
        with np.errstate(divide="ignore"):
            return np.sort(1.0 / np.abs(np.log(kept)))

    @property
    def half_life(self) -> float:
        """The first lag at which less than half is left, between lags by straight lines; infinite if it is beyond."""
        known = self.by_lag[~np.isnan(self.by_lag)]
        below = np.flatnonzero(known < 0.5)
        if not len(below):
            return float("inf")
        after = int(below[0])
        high, low = known[after - 1], known[after]
        return after - 1 + float((high - 0.5) / (high - low))


def carry_vectors(carry: Carry, num_axes: int = 1) -> Array:
    """The numbers a carry consists of, side by side, float32 `[..., D]`.

    The real and imaginary parts of complex numbers are two numbers. Counters are left out.

    Args:
        carry: leaves `[..., *shape]`, at least one of floats.
        num_axes: how many axes lead each leaf's own shape.
    """
    vectors = []
    for leaf in _numbers(carry):
        flat = leaf.reshape(*leaf.shape[:num_axes], -1)
        vectors.extend([flat.real, flat.imag] if jnp.iscomplexobj(flat) else [flat])
    return jnp.concatenate([x.astype(jnp.float32) for x in vectors], axis=-1)


def has_numbers(carry: Carry) -> bool:
    """Whether there is anything in a carry to look at."""
    return bool(_numbers(carry))


def carries_along(network: Network, params: PyTree, timesteps: Timestep, carry: Carry) -> Carry:
    """The carry after each step, leaves `[B, T, ...]`.

    Args:
        network: the network.
        params: variables of the network.
        timesteps: what it sees, leaves `[B, T, ...]`.
        carry: the torso's carry before the first step.
    """

    def step(carry: Carry, timestep: Timestep) -> tuple[Carry, Carry]:
        carry, _ = unroll_step(network, params, timestep, carry)
        return carry, carry

    _, carries = jax.lax.scan(step, carry, _time_first(timesteps))
    return _time_first(carries)


def norms_in_episode(vectors: np.ndarray, done: np.ndarray, max_step: int) -> tuple[np.ndarray, np.ndarray]:
    """The norm of the carry at each step of an episode.

    Args:
        vectors: the carry after each step, `[B, T, D]`.
        done: whether a step is the first of an episode, bool `[B, T]`.
        max_step: the last step of an episode to look at, `S`, counted from 0.

    Returns:
        `(mean, deviation)`, each `[S + 1]`: over all episodes; NaN where none is that long.
    """
    steps = np.arange(done.shape[1])
    first = np.maximum.accumulate(np.where(done, steps, 0), axis=1)
    norms, in_episode = np.linalg.norm(vectors, axis=-1), steps - first
    found = [norms[in_episode == step] for step in range(max_step + 1)]
    mean = [values.mean() if len(values) else np.nan for values in found]
    deviation = [values.std() if len(values) else np.nan for values in found]
    return np.array(mean), np.array(deviation)


def carry_survival(
    key: Key,
    network: Network,
    params: PyTree,
    timesteps: Timestep,
    carry: Carry,
    times: np.ndarray,
    max_lag: int,
) -> Survival:
    """Differentiate the carry by what it was before, in random directions, within episodes.

    One backward pass for each of `times` with cotangents of random signs (Hutchinson, 1990): the mean square of what
    comes out is the mean square of the derivative, without an error where each number depends on its own past alone.

    Args:
        key: random key, of the directions.
        network: a network whose carry has numbers.
        params: variables of the network.
        timesteps: what it saw, leaves `[B, T, ...]`.
        carry: the torso's carry before the first step.
        times: the steps after which the carry is differentiated, int `[N]`.
        max_lag: how far back, `K`.
    """
    squares, count = jax.jit(functools.partial(_survival_sums, network, max_lag=max_lag))(
        params, timesteps, carry, jnp.asarray(times), jax.random.split(key, len(times))
    )
    squares, count = np.asarray(squares, np.float64), np.asarray(count)
    means = np.where(count[:, None] > 0, squares / np.maximum(count[:, None], 1), np.nan)
    return Survival(by_lag=np.sqrt(means.mean(axis=1)), units=np.sqrt(means))


def _survival_sums(
    network: Network, params: PyTree, timesteps: Timestep, carry: Carry, times: Array, keys: Key, max_lag: int
) -> tuple[Array, Array]:
    """Sums of squares `[K + 1, D]` over pairs of steps of one episode, and how many pairs there are, `[K + 1]`."""
    num_steps = timesteps.done.shape[1]
    zeros = [jnp.zeros((num_steps, *x.shape), x.dtype) for x in _numbers(carry)]

    def carries(shifts: list[Array]) -> list[Array]:
        """The carry after each step, leaves `[T, B, ...]`, where it is shifted after each step."""

        def step(carry: Carry, inputs: tuple[Timestep, list[Array]]) -> tuple[Carry, list[Array]]:
            timestep, shift = inputs
            carry = _shifted(unroll_step(network, params, timestep, carry)[0], shift)
            return carry, _numbers(carry)

        return jax.lax.scan(step, carry, (_time_first(timesteps), shifts))[1]

    after, pull_back = jax.vjp(carries, zeros)
    episodes = jnp.cumsum(timesteps.done.T, axis=0)  # (T, B)

    def add(sums: tuple[Array, Array], xs: tuple[Array, Key]) -> tuple[tuple[Array, Array], None]:
        time, key = xs
        directions = [_random_signs(k, x) for k, x in zip(jax.random.split(key, len(after)), after, strict=True)]
        here = jnp.arange(num_steps) == time
        chosen = [jnp.where(jnp.expand_dims(here, tuple(range(1, x.ndim))), x, 0.0) for x in directions]
        (derivatives,) = pull_back(chosen)
        squares = jnp.concatenate(
            [jnp.square(jnp.abs(x)).reshape(*x.shape[:2], -1) for x in derivatives], axis=-1
        )  # (T, B, D)
        sources = time - jnp.arange(max_lag + 1)  # (K + 1)
        before = jnp.maximum(sources, 0)
        valid = (sources >= 0)[:, None] & (episodes[before] == episodes[time][None])  # (K + 1, B)
        found = jnp.where(valid[..., None], squares[before], 0.0)
        return (sums[0] + found.sum(axis=1), sums[1] + valid.sum(axis=1)), None

    size = sum(x[0, 0].size for x in after)
    start = (jnp.zeros((max_lag + 1, size)), jnp.zeros((max_lag + 1,), jnp.int32))
    return jax.lax.scan(add, start, (times, keys))[0]


def _numbers(carry: Carry) -> list[Array]:
    """The leaves that are no counters."""
    return [x for x in jax.tree.leaves(carry) if jnp.issubdtype(x.dtype, jnp.inexact)]


def _shifted(carry: Carry, shift: list[Array]) -> Carry:
    """A carry with `shift` added to the leaves that are no counters."""
    leaves, structure = jax.tree.flatten(carry)
    shifts = iter(shift)
    shifted = [x + next(shifts) if jnp.issubdtype(x.dtype, jnp.inexact) else x for x in leaves]
    return jax.tree.unflatten(structure, shifted)


def _random_signs(key: Key, like: Array) -> Array:
    """Random numbers of absolute value 1, of the shape and type of an array."""
    if not jnp.iscomplexobj(like):
        return jax.random.rademacher(key, like.shape, like.dtype)
    quarters = jax.random.randint(key, like.shape, 0, 4)
    return jnp.exp(0.5j * jnp.pi * quarters).astype(like.dtype)


def _time_first(tree: PyTree) -> PyTree:
    """Leaves with their first two axes swapped."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1), tree)
