"""The temperature's step, by numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import heads


@pytest.mark.parametrize("initial", [0.1, 1.0, 20.0])
@pytest.mark.parametrize(("entropy", "step"), [(0.5, 0.5), (1.5, -0.5)])
def test_a_step_is_as_large_whatever_the_temperature_is(initial, entropy, step):
    """Plain descent of rate 1 towards an entropy of 1 moves the logarithm by what is missing."""
    temperature = heads.Temperature(initial)
    params = temperature.init(jax.random.key(0))

    def loss(params):
        return temperature.loss(temperature.apply(params), jnp.array([[entropy, entropy]]), jnp.ones((1, 2))).mean()

    np.testing.assert_allclose(temperature.value(temperature.apply(params)), initial, rtol=1e-6)
    moved = jax.tree.map(lambda x, g: x - g, params, jax.grad(loss)(params))
    np.testing.assert_allclose(moved["params"]["log_alpha"] - params["params"]["log_alpha"], step, rtol=1e-5)


def test_no_gradient_reaches_the_policy_or_comes_from_the_losses_of_others():
    temperature = heads.Temperature()
    by_entropy = jax.grad(lambda entropy: temperature.loss(jnp.array(2.0), entropy, jnp.array(1.0)))
    assert by_entropy(jnp.array(0.5)) == 0.0
    assert jax.grad(temperature.value)(jnp.array(1.0)) == 0.0


def test_a_temperature_is_positive():
    with pytest.raises(ValueError, match=r"initial \(0.0\) must be positive"):
        heads.Temperature(0.0)
