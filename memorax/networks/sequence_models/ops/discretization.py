"""Continuous linear systems, turned into recurrences by sampling them in time."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.types import Array


def zero_order_hold(eigenvalues: Array, step: Array) -> tuple[Array, Array]:
    """Sample `dh/dt = lambda h + u` with a `u` that is constant within each step.

    `h_t = exp(lambda step) h_{t-1} + (exp(lambda step) - 1) / lambda u_t`, exact also for `lambda step` near zero
    (Smith et al., 2023, "Simplified State Space Layers for Sequence Modeling", Section 3).

    Args:
        eigenvalues: lambda, complex and not zero.
        step: length of a step in time, real, of the same shape.

    Returns:
        `(decay, gain)`: what multiplies the state, and what multiplies the input.
    """
    real, imaginary = eigenvalues.real * step, eigenvalues.imag * step
    # exp(a + ib) - 1 = expm1(a) cos(b) - 2 sin^2(b / 2) + i exp(a) sin(b), where no term cancels for small steps.
    below = jnp.expm1(real) * jnp.cos(imaginary) - 2 * jnp.sin(imaginary / 2) ** 2
    exp_minus_one = jax.lax.complex(below, jnp.exp(real) * jnp.sin(imaginary))
    return exp_minus_one + 1, exp_minus_one / eigenvalues
