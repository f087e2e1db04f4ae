"""Initializers of kernels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box
from memorax.networks import TORSOS
from memorax.networks.encoders import sparse_encoder
from memorax.networks.initializers import sparse


@pytest.mark.parametrize(("shape", "zeros"), [((20, 7), 18), ((3, 3, 2, 5), 16), ((3, 4), 2)])
def test_every_output_has_as_many_zeros(shape: tuple[int, ...], zeros: int) -> None:
    kernel = np.asarray(sparse(0.9)(jax.random.key(0), shape)).reshape(-1, shape[-1])
    np.testing.assert_array_equal((kernel == 0).sum(axis=0), zeros)
    assert np.abs(kernel).max() <= 1 / np.sqrt(len(kernel))
    assert len(np.unique(kernel == 0, axis=1).T) > 1, "each output has its own places"


def test_shares_without_a_weight_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"sparsity \(1\) must be at least 0 and less than 1"):
        sparse(1)


def test_layers_of_streaming_algorithms_are_sparse_and_normalised() -> None:
    torso = TORSOS["mlp"](32, layer_norm=True, sparsity=0.5)
    inputs, done = jax.random.normal(jax.random.key(0), (2, 3, 16)), jnp.zeros((2, 3), bool)
    params = torso.init(jax.random.key(0), inputs, done, ())
    kernel = jax.tree.leaves(params)[1]
    assert kernel.shape == (16, 32) and ((kernel == 0).sum(axis=0) == 8).all()
    outputs = torso.apply(params, inputs, done, ())[1]
    np.testing.assert_allclose(torso.apply(params, 7 * inputs, done, ())[1], outputs, rtol=1e-3, atol=1e-4)

    encoder = sparse_encoder(Box(-1.0, 1.0, (10,)), 8)
    observations = jax.random.normal(jax.random.key(1), (2, 3, 10))
    outputs, params = encoder.init_with_output(jax.random.key(0), observations)
    assert outputs.shape == (2, 3, 8)
    assert ((jax.tree.leaves(params)[1] == 0).sum(axis=0) == 9).all()
