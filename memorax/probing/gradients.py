"""How much each past input matters to what a network says now: norms of gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.network import Network, unroll
from memorax.probing.lags import mean_by_lag
from memorax.types import Array, Carry, PyTree, Timestep


@dataclass(frozen=True)
class Influence:
    """How much inputs matter to the outputs that follow.

    Attributes:
        by_lag: mean gradient norm `[K + 1]` of the output by the input 0, 1, ..., `K` steps before; NaN where no
            episode is that long.
        times: steps of the first row at which `episode` has rows, int `[N]`, of its first episode.
        episode: gradient norms `[N, S]` of the outputs at `times` by the inputs at the first `S` steps of that episode;
            NaN where the input comes after the output.
    """

    by_lag: np.ndarray
    times: np.ndarray
    episode: np.ndarray

    @property
    def relative(self) -> np.ndarray:
        """`by_lag` divided by its maximum, so that networks compare; zeros where nothing matters."""
        return _relative(self.by_lag)

    @property
    def relative_episode(self) -> np.ndarray:
        """`episode` with each row divided by its maximum."""
        return np.stack([_relative(row) for row in self.episode])


FEATURE_EXTRACTOR = "feature_extractor"
"""The module of a `Network` whose outputs are the inputs that gradients are taken by."""


def influence(
    network: Network, params: PyTree, timesteps: Timestep, carry: Carry, times: np.ndarray, max_lag: int
) -> Influence:
    """Differentiate a network's outputs by its earlier inputs, within episodes.

    The input is what the feature extractor makes of a timestep, so that symbols, pictures and numbers compare; the
    output is all that the head says (`Head.numbers`): the logits of a policy, or the values of all actions. The norm is
    that of the whole Jacobian, the root of the sum of its squared entries.

    Args:
        network: the network.
        params: variables of the network.
        timesteps: what it saw, leaves `[B, T, ...]`; the first step of each row starts an episode.
        carry: the torso's carry before the first step.
        times: the steps whose outputs are differentiated, int `[N]`.
        max_lag: the largest number of steps between an input and an output, `K`.
    """
    done = np.asarray(timesteps.done)
    gradients = jax.jit(functools.partial(input_gradients, network))
    norms = np.asarray(gradients(params, timesteps, carry, jnp.asarray(times)))
    length = int(np.argmax(np.append(done[0, 1:], True))) + 1
    in_first = times < length
    seen = np.arange(length) <= times[in_first][:, None]
    episode = np.where(seen, norms[in_first, 0, :length], np.nan)
    return Influence(mean_by_lag(norms, done, times, max_lag), times[in_first], episode)


def input_gradients(network: Network, params: PyTree, timesteps: Timestep, carry: Carry, times: Array) -> Array:
    """Norms of the Jacobians of outputs by the features of each step, `[N, B, T]`.

    One backward pass for each number of the output and each of `times`, none in forward mode.

    Args:
        network: the network.
        params: variables of the network.
        timesteps: what it saw, leaves `[B, T, ...]`.
        carry: the torso's carry before the first step.
        times: the steps whose outputs are differentiated, int `[N]`.
    """
    num_steps = timesteps.done.shape[1]

    def outputs(shift: Array) -> Array:
        with nn.intercept_methods(_added_to_features(shift)):
            return network.head.numbers(unroll(network, params, timesteps, carry)[1])

    shape = _feature_shape(lambda: unroll(network, params, timesteps, carry))
    numbers, pull_back = jax.vjp(outputs, jnp.zeros(shape, jnp.float32))

    def norms(time: Array) -> Array:
        here = jnp.arange(num_steps) == time
        number = jnp.eye(numbers.shape[-1], dtype=bool)[:, None, None, :]  # (N, 1, 1, N)
        chosen = jnp.broadcast_to(number & here[None, None, :, None], (numbers.shape[-1], *numbers.shape))
        (jacobian,) = jax.vmap(pull_back)(chosen.astype(numbers.dtype))  # (N, B, T, F)
        return jnp.sqrt(jnp.sum(jnp.square(jacobian), axis=(0, -1)))

    return jax.lax.map(norms, times)


def _added_to_features(shift: Array) -> Callable[..., Any]:
    """What adds `shift` to the features of a network while it runs."""

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        features = call(*args, **kwargs)
        return features + shift.astype(features.dtype) if _extracts_features(context) else features

    return intercept


def _feature_shape(run: Callable[[], Any]) -> tuple[int, ...]:
    """The shape `[B, T, F]` of the features a network computes while it runs."""
    shapes: list[tuple[int, ...]] = []

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        features = call(*args, **kwargs)
        if _extracts_features(context):
            shapes.append(features.shape)
        return features

    with nn.intercept_methods(intercept):
        jax.eval_shape(run)
    return shapes[0]


def _extracts_features(context: nn.module.InterceptorContext) -> bool:
    return context.module.path == (FEATURE_EXTRACTOR,) and context.method_name == "__call__"


def _relative(norms: np.ndarray) -> np.ndarray:
    largest = np.nanmax(norms)
    return norms / largest if largest > 0 else norms
