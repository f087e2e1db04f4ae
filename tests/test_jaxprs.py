"""What the equations of traced programs say."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.jaxprs import scan_inputs


def test_the_inputs_of_a_scan_are_told_apart() -> None:
    def turns(weights: list[jax.Array], carry: tuple[jax.Array, jax.Array], xs: jax.Array) -> object:
        def body(carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            hidden, count = carry
            return (jnp.tanh(hidden @ weights[0] + x @ weights[1]), count + 1), x

        return jax.lax.scan(body, carry, xs)

    weights, carry = [jnp.ones((2, 2)), jnp.ones((3, 2))], (jnp.ones(2), jnp.zeros((), int))
    (scan,) = jax.make_jaxpr(turns)(weights, carry, jnp.ones((5, 3))).eqns
    constants, carried, sequences = scan_inputs(scan.params, [variable.aval.shape for variable in scan.invars])
    assert sorted(constants) == [(2, 2), (3, 2)]
    assert carried == [(2,), ()]
    assert sequences == [(5, 3)]
