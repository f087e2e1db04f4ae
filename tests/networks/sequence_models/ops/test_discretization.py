"""The zero-order hold against its closed form in float64."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops.discretization import zero_order_hold


def test_is_exact_for_steps_of_any_size() -> None:
    eigenvalues = np.array([-0.5 + 3j, -1e-4 + 1e-3j, -20 - 50j, -0.5 + 0j])
    for step in (1e-6, 1e-3, 0.1, 3.0):
        decay, gain = zero_order_hold(jnp.asarray(eigenvalues, jnp.complex64), jnp.full(4, step))
        z = eigenvalues * step
        # Taylor's series where the closed form itself would cancel.
        ratio = np.where(np.abs(z) < 1e-2, 1 + z / 2 + z**2 / 6 + z**3 / 24 + z**4 / 120, (np.exp(z) - 1) / z)
        np.testing.assert_allclose(decay, np.exp(z), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(gain, ratio * step, rtol=1e-5)
