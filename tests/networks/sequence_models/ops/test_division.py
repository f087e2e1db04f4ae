"""A shared divisor is inverted once, and gives the quotient."""

from __future__ import annotations

import jax
import numpy as np

from memorax.networks.sequence_models.ops.division import divide_by_shared


def test_the_shared_divisor_is_inverted_once() -> None:
    random = np.random.default_rng(0)
    x, divisor = (random.normal(size=shape).astype(np.float32) for shape in ((5, 3, 8), (5, 3, 1)))
    np.testing.assert_allclose(jax.jit(divide_by_shared)(x, divisor), x / divisor, rtol=3e-7)
    divisions = [e for e in jax.make_jaxpr(divide_by_shared)(x, divisor).eqns if e.primitive.name == "div"]
    assert [e.outvars[0].aval.shape for e in divisions] == [divisor.shape]
