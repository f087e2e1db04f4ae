"""The causal convolution against a plain loop over a list of the episode's inputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.testing import check_close


def loop(inputs: np.ndarray, kernel: np.ndarray, done: np.ndarray, window: np.ndarray) -> tuple:
    width = len(kernel)
    windows, outputs = [], []
    for sequence, firsts, before in zip(inputs, done, window, strict=True):
        seen = list(before)
        for x, first in zip(sequence, firsts, strict=True):
            seen = [np.zeros_like(x)] * (width - 1) if first else seen
            seen.append(x)
            outputs.append(sum(weight * past for weight, past in zip(kernel, seen[-width:], strict=True)))
        windows.append(seen[len(seen) - width + 1 :])
    return np.reshape(windows, window.shape), np.reshape(outputs, inputs.shape)


@pytest.mark.parametrize(("width", "num_steps"), [(1, 3), (2, 1), (4, 1), (4, 12), (9, 3)])
def test_equals_a_loop(width: int, num_steps: int) -> None:
    keys = jax.random.split(jax.random.key(width), 4)
    inputs, kernel = jax.random.normal(keys[0], (5, num_steps, 3)), jax.random.normal(keys[1], (width, 3))
    done, window = jax.random.bernoulli(keys[2], 0.3, (5, num_steps)), jax.random.normal(keys[3], (5, width - 1, 3))
    result = jax.jit(causal_convolution)(inputs, kernel, done, window)
    expected = loop(*(np.asarray(x, np.float64) for x in (inputs, kernel)), np.asarray(done), np.asarray(window))
    check_close(result, expected)


def test_gradient_is_that_of_finite_differences() -> None:
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (2, 7, 3), (4, 3), (2, 3, 3)
    inputs, kernel, window = (jax.random.normal(key, shape) for key, shape in zip(keys[:3], shapes, strict=True))
    done = jax.random.bernoulli(keys[3], 0.3, (2, 7)).at[1].set(False)
    run = jax.jit(lambda inputs, kernel, window: causal_convolution(inputs, kernel, done, window))
    check_grads(run, (inputs, kernel, window), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_a_nan_does_not_survive_a_reset() -> None:
    inputs = jnp.ones((1, 6, 2)).at[:, :3].set(jnp.nan)
    done = jnp.zeros((1, 6), bool).at[:, 3].set(True)
    window, outputs = jax.jit(causal_convolution)(inputs, jnp.ones((3, 2)), done, jnp.full((1, 2, 2), jnp.inf))
    np.testing.assert_array_equal(outputs[0, 3:, 0], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(window, jnp.ones((1, 2, 2)))
