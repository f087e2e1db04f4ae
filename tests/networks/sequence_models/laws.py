"""What every sequence model must hold beyond `memorax.testing.check_sequence_model`: functions of (model, features)."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models import SequenceModel


def sequence(
    model: SequenceModel, features: int, batch_size: int = 3, num_steps: int = 24, reset: float = 0.15
) -> tuple:
    """Random inputs and resets, and the carry at the start of an episode."""
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (batch_size, num_steps, features))
    done = jax.random.bernoulli(keys[1], reset, (batch_size, num_steps))
    return inputs, done, model.initialize_carry(keys[2], (batch_size, features))


def initialize(model: SequenceModel, inputs: jax.Array, done: jax.Array, carry: Any) -> Any:
    """Parameters, from one step: they do not depend on the length."""
    return jax.jit(model.init)(jax.random.key(1), inputs[:, :1], done[:, :1], carry)


def step_by_step(model: SequenceModel, params: Any, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple:
    """The model as it acts: one call per step, inside a scan."""

    def step(carry: Any, xs: tuple) -> tuple:
        carry, outputs = model.apply(params, xs[0][:, None], xs[1][:, None], carry)
        return carry, outputs[:, 0]

    carry, outputs = jax.lax.scan(step, carry, (inputs.swapaxes(0, 1), done.T))
    return carry, outputs.swapaxes(0, 1)


def check_gradient(model: SequenceModel, features: int) -> float:
    """The gradient, of parameters, inputs and carry, is that of the step-by-step form.

    Returns:
        The largest difference, relative to the largest entry of its array.
    """
    inputs, done, carry = sequence(model, features)
    params = initialize(model, inputs, done, carry)
    carry, outputs = jax.jit(model.apply)(params, inputs, done, carry)
    # One for each feature: the plain norm of what was normalised is the same whatever the parameters.
    weights = jax.random.normal(jax.random.key(2), outputs.shape)

    def gradient(run: Any) -> Any:
        def loss(params: Any, inputs: jax.Array, carry: Any) -> jax.Array:
            final, outputs = run(params, inputs, done, carry)
            floats = [x for x in jax.tree.leaves(final) if jnp.issubdtype(x.dtype, jnp.inexact)]
            return jnp.sum(weights * outputs**2) + sum(jnp.sum(jnp.abs(x) ** 2) for x in floats)

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2), allow_int=True))(params, inputs, carry)

    def compare(whole: jax.Array, steps: jax.Array) -> float:
        if whole.dtype == jax.dtypes.float0 or not whole.size:
            return 0.0
        largest = float(jnp.abs(steps).max())
        np.testing.assert_allclose(whole, steps, rtol=1e-4, atol=1e-4 * largest + 1e-7)
        return float(jnp.abs(whole - steps).max()) / max(largest, 1e-3)

    whole = gradient(model.apply)
    steps = gradient(lambda *arguments: step_by_step(model, *arguments))
    return max(jax.tree.leaves(jax.tree.map(compare, whole, steps)), default=0.0)


def check_long_sequence(model: SequenceModel, features: int, num_steps: int = 10_000, tolerance: float = 1e-5) -> None:
    """10 000 steps of one episode stay finite, and end as in one call where they came in two.

    The same means within `tolerance`, beside what float32 resolves of an entry (1e-6 of it).
    """
    inputs, done, carry = sequence(model, features, batch_size=1, num_steps=num_steps, reset=0.0)
    params = initialize(model, inputs, done, carry)
    final, outputs = jax.jit(model.apply)(params, inputs, done, carry)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves((final, outputs)))
    cut = num_steps - 37
    carry, _ = jax.jit(model.apply)(params, inputs[:, :cut], done[:, :cut], carry)
    final_of_two, last = jax.jit(model.apply)(params, inputs[:, cut:], done[:, cut:], carry)

    def compare(two: jax.Array, one: jax.Array) -> None:
        np.testing.assert_allclose(two, one, rtol=1e-6, atol=tolerance)

    compare(last, outputs[:, cut:])
    jax.tree.map(compare, final_of_two, final)


def check_bfloat16(model: SequenceModel, features: int) -> None:
    """A model that computes in bfloat16 keeps float32 parameters and carry, and follows its float32 self."""
    inputs, done, carry = sequence(model, features)
    params = initialize(model, inputs, done, carry)
    final, outputs = jax.jit(model.apply)(params, inputs.astype(jnp.bfloat16), done, carry)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))
    for before, after in zip(jax.tree.leaves(carry), jax.tree.leaves(final), strict=True):
        assert before.dtype == after.dtype
        assert before.dtype in (jnp.float32, jnp.complex64, jnp.int32)
    assert bool(jnp.isfinite(outputs).all())
    _, steps = jax.jit(partial(step_by_step, model))(params, inputs.astype(jnp.bfloat16), done, carry)
    np.testing.assert_allclose(outputs.astype(jnp.float32), steps.astype(jnp.float32), atol=0.1)

    @jax.jit
    @jax.grad
    def gradient(params: Any) -> jax.Array:
        return jnp.mean(model.apply(params, inputs, done, carry)[1].astype(jnp.float32) ** 2)

    assert all(x.dtype == jnp.float32 and bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient(params)))


def check_vmap_over_parameters(model: SequenceModel, features: int) -> None:
    """Seeds in one program give what each gives alone, gradients included."""
    inputs, done, carry = sequence(model, features, num_steps=6)
    keys = jax.random.split(jax.random.key(1), 2)
    # One after the other: batched decompositions of orthogonal initialisers hang on few cores.
    params = jax.lax.map(lambda key: model.init(key, inputs[:, :1], done[:, :1], carry), keys)

    def loss(params: Any) -> jax.Array:
        return jnp.sum(model.apply(params, inputs, done, carry)[1] ** 2)

    together = jax.jit(jax.vmap(jax.value_and_grad(loss)))(params)
    alone = jax.jit(jax.value_and_grad(loss))(jax.tree.map(lambda x: x[1], params))

    def compare(together: jax.Array, alone: jax.Array) -> None:
        np.testing.assert_allclose(together[1], alone, rtol=1e-6, atol=1e-5)

    jax.tree.map(compare, together, alone)
