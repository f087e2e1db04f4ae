"""Linear attention: its quotient is an average of values, whatever the size of its inputs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import FWPCell, LinearAttentionCell, Memoroid


@pytest.mark.parametrize("cell", [LinearAttentionCell, FWPCell])
@pytest.mark.parametrize("size", [1e-6, 1e3, 1e6])
def test_finite_inputs_of_any_size_have_finite_outputs_and_gradients(cell: Any, size: float) -> None:
    model = Memoroid(cell(8, num_heads=4, positional_embedding=None))
    inputs = size * jax.random.normal(jax.random.key(1), (64, 6, 4))
    done, carry = jnp.zeros((64, 6), bool), model.initialize_carry(jax.random.key(0), (64, 4))
    params = jax.jit(model.init)(jax.random.key(2), inputs, done, carry)

    def total(params: Any) -> Any:
        outputs = model.apply(params, inputs, done, carry)[1]
        return outputs.sum(), outputs

    gradients, outputs = jax.jit(jax.grad(total, has_aux=True))(params)
    # An average of values is no larger than they are.
    weights = params["params"]["cell"]
    largest = (
        np.abs(inputs).max() * np.abs(weights["qkv"]["kernel"]).sum(0).max() * np.abs(weights["out"]["kernel"]).sum()
    )
    assert np.abs(outputs).max() <= largest
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_keys_that_are_all_negligible_count_alike() -> None:
    model = Memoroid(LinearAttentionCell(2, num_heads=1, positional_embedding=None))
    done, carry = jnp.zeros((1, 2), bool), model.initialize_carry(jax.random.key(0), (1, 1))
    inputs = jnp.asarray([[[1.0], [3.0]]])
    kernel = jnp.asarray([[-1e6, -1e6, -1e6, -1e6, 1.0, 1.0]])  # queries, keys, values
    params = {"params": {"cell": {"qkv": {"kernel": kernel}, "out": {"kernel": jnp.eye(2)}}}}
    outputs = jax.jit(model.apply)(params, inputs, done, carry)[1]
    np.testing.assert_allclose(outputs, [[[1.0, 1.0], [2.0, 2.0]]], rtol=1e-6)
