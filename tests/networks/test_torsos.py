"""Torsos by name: any width works or is refused in one line."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from memorax.networks import MLP, TORSOS


def run(name: str, features: int) -> Any:
    def outputs(key: Any) -> Any:
        model = TORSOS[name](features)
        carry = model.initialize_carry(key, (1, 5))
        return model.init_with_output(key, jnp.ones((1, 2, 5)), jnp.zeros((1, 2), bool), carry)[0][1]

    return jax.eval_shape(outputs, jax.random.key(0))


@pytest.mark.parametrize("name", TORSOS)
def test_a_torso_is_as_wide_as_asked_for_or_says_what_it_needs(name: str) -> None:
    for features in (-1, 0, 1, 2, 3, 7):
        try:
            assert run(name, features).shape[-1] == features
        except ValueError as error:
            assert "features" in str(error) and "\n" not in str(error)
        else:
            assert features > 0


@pytest.mark.parametrize("features", [0, (), (4, 0), -3])
def test_an_mlp_has_layers_of_at_least_one_feature(features: Any) -> None:
    with pytest.raises(ValueError, match="must name widths of at least 1"):
        MLP(features)
