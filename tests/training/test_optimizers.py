"""Optimizers by name, and parameters as one vector."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.training.optimizers import DEFAULTS, LAYER_BY_LAYER, OPTIMIZERS, as_one_vector, make_optimizer

PARAMS = {
    "small": 0.01 * jnp.arange(6.0).reshape(2, 3),
    "large": 10.0 + jnp.arange(4.0),
    "number": jnp.asarray(0.5),
}


def trained(optimizer: optax.GradientTransformation, params: Any, num_updates: int = 8) -> Any:
    """Parameters after some updates along changing gradients of different sizes."""
    state = optimizer.init(params)
    for i in range(num_updates):
        gradients = jax.tree.map(lambda x, i=i: jnp.cos(i + x) * (1 + abs(x)), params)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_that_of_optax(name: str) -> None:
    made = trained(make_optimizer(name, 1e-2, 1.0, {}), PARAMS)
    plain = optax.chain(optax.clip_by_global_norm(1.0), OPTIMIZERS[name](1e-2, **DEFAULTS.get(name, {})))
    expected = trained(plain, PARAMS)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), made, expected)


def test_all_parameters_are_one_vector_to_an_optimizer_of_numbers() -> None:
    for name in OPTIMIZERS:
        sizes = {x.shape for x in jax.tree.leaves(make_optimizer(name, 1e-2, 1.0, {}).init(PARAMS)) if x.ndim}
        assert sizes <= ({(2, 3), (4,)} if name in LAYER_BY_LAYER else {(11,)}), name


def test_a_mask_by_the_names_of_parameters_holds() -> None:
    options = {"weight_decay": 0.5, "mask": {"small": True, "large": False, "number": False}}
    made = trained(make_optimizer("adamw", 1e-2, 1.0, options), PARAMS)
    plain = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2, **options))
    jax.tree.map(np.testing.assert_array_equal, made, trained(plain, PARAMS))


def test_parameters_of_several_types_stay_as_they_are() -> None:
    params = {**PARAMS, "complex": jnp.asarray([1.0 + 2.0j]), "half": jnp.ones(3, jnp.bfloat16)}
    made = trained(as_one_vector(optax.adam(1e-2)), params)
    jax.tree.map(np.testing.assert_array_equal, made, trained(optax.adam(1e-2), params))
    assert trained(as_one_vector(optax.adam(1e-2)), {}) == {}
