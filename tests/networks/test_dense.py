"""Tests for `memorax.networks.dense`."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from memorax.networks.dense import Dense, project
from memorax.testing import check_close


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 3, 4)])
def test_dense_is_that_of_flax(leading: tuple[int, ...]) -> None:
    inputs = jax.random.normal(jax.random.key(0), (*leading, 5))
    params = nn.Dense(7).init(jax.random.key(1), inputs)
    check_close(Dense(7).apply(params, inputs), nn.Dense(7).apply(params, inputs), 1e-6)


def test_the_gradient_of_a_kernel_contracts_a_single_axis() -> None:
    def loss(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(project(inputs, kernel)))

    jaxpr = jax.make_jaxpr(jax.grad(loss, argnums=1))(jnp.ones((2, 3, 5)), jnp.ones((5, 7)))
    products = [equation for equation in jaxpr.eqns if equation.primitive.name == "dot_general"]
    assert len(products) == 2
    for product in products:
        (contracted, _), _ = product.params["dimension_numbers"]
        assert len(contracted) == 1, product


@pytest.mark.parametrize("shape", [(5, 7), (7, 5)])
def test_gradients_are_those_of_the_product(shape: tuple[int, int]) -> None:
    inputs, kernel = (jax.random.normal(jax.random.key(i), size) for i, size in enumerate([(2, 3, shape[0]), shape]))

    def gradient(multiply: Callable[..., jax.Array]) -> tuple[jax.Array, jax.Array]:
        return jax.grad(lambda *args: jnp.sum(jnp.sin(multiply(*args))), argnums=(0, 1))(inputs, kernel)

    check_close(gradient(project), gradient(jnp.matmul))
