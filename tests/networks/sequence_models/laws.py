"""What every sequence model must hold beyond `memorax.testing.check_sequence_model`: functions of (model, features)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models import SequenceModel
from memorax.testing import check_close


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


@functools.cache
def initial_params(model: SequenceModel, features: int) -> Any:
    """Parameters that several laws share."""
    return initialize(model, *sequence(model, features))


@functools.cache
def gradient_function(model: SequenceModel, features: int, stepwise: bool = False) -> Callable[..., tuple[Any, Any]]:
    """A compiled function of parameters, inputs, carry and done: the gradient by the first three, and the final carry.

    What is differentiated is a weighted sum of squared outputs, and the squared norm of the final carry. Each output
    has a weight of its own: the plain norm of what was normalised is the same whatever the parameters, so that its
    gradient is made of rounding errors.
    """
    run = functools.partial(step_by_step, model) if stepwise else model.apply

    def loss(params: Any, inputs: jax.Array, carry: Any, done: jax.Array) -> tuple[jax.Array, Any]:
        final, outputs = run(params, inputs, done, carry)
        weights = jax.random.normal(jax.random.key(2), outputs.shape)
        floats = [x for x in jax.tree.leaves(final) if jnp.issubdtype(x.dtype, jnp.inexact)]
        return jnp.sum(weights * outputs**2) + sum(jnp.sum(jnp.abs(x) ** 2) for x in floats), final

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True))


def check_gradient(model: SequenceModel, features: int) -> float:
    """The gradient, of parameters, inputs and carry, is that of the step-by-step form.

    Returns:
        The largest difference, relative to the largest entry of its array.
    """
    inputs, done, start = sequence(model, features)
    params = initial_params(model, features)
    gradient = gradient_function(model, features)
    _, carry = gradient(params, inputs, start, done)  # a carry with a history
    whole, _ = gradient(params, inputs, carry, done)
    steps, _ = gradient_function(model, features, stepwise=True)(params, inputs, carry, done)
    # Where a normaliser is close to zero, as that of fast weights may be, gradients amplify the rounding of what it
    # divides.
    check_close(whole, steps, tolerance=1e-4)

    def difference(whole: np.ndarray, steps: np.ndarray) -> float:
        if whole.dtype == jax.dtypes.float0 or not whole.size:
            return 0.0
        return float(np.abs(whole - steps).max()) / max(float(np.abs(steps).max()), 1e-3)

    return max(jax.tree.leaves(jax.tree.map(difference, *jax.device_get((whole, steps)))), default=0.0)


def check_reset(model: SequenceModel, features: int) -> None:
    """A carry of NaN that is reset at once gives what the initial carry gives: the gradient and the final carry.

    Selecting what is not NaN after a product keeps the NaN out of the outputs alone: the gradient of the product has
    it, times zero.
    """
    inputs, done, start = sequence(model, features)
    done = done.at[:, 0].set(True)
    params = initial_params(model, features)
    poison = jax.tree.map(lambda x: np.full_like(x, np.nan) if jnp.issubdtype(x.dtype, jnp.inexact) else x, start)
    run = gradient_function(model, features)
    expected = run(params, inputs, start, done)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(expected) if x.dtype != jax.dtypes.float0)
    check_close(run(params, inputs, poison, done), expected, 1e-6)


def check_long_sequence(model: SequenceModel, features: int, num_steps: int = 10_006) -> None:
    """More than 10 000 steps of one episode stay finite, and end as in one call where they came in two."""
    inputs, done, start = sequence(model, features, batch_size=1, num_steps=num_steps, reset=0.0)
    params = initialize(model, inputs, done, start)
    apply = jax.jit(model.apply)
    final, outputs = apply(params, inputs, done, start)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves((final, outputs)))
    carry, pieces = start, []
    for half in (slice(0, num_steps // 2), slice(num_steps // 2, None)):  # of one length: compiled once
        carry, piece = apply(params, inputs[:, half], done[:, half], carry)
        pieces.append(piece)
    check_close((jnp.concatenate(pieces, axis=1), carry), (outputs, final))


def check_bfloat16(exact: SequenceModel, model: SequenceModel, features: int) -> None:
    """A model that computes in bfloat16 keeps float32 parameters and carry, and acts as it learns.

    Args:
        exact: the same model in float32.
        model: the one in bfloat16.
        features: features of its inputs.
    """
    inputs, done, carry = sequence(model, features)
    params = initialize(model, inputs, done, carry)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))

    @functools.partial(jax.value_and_grad, has_aux=True)
    def learn(params: Any, inputs: jax.Array) -> tuple[jax.Array, Any]:
        final, outputs = model.apply(params, inputs, done, carry)
        return jnp.mean(outputs.astype(jnp.float32) ** 2), (final, outputs)

    (_, (final, outputs)), gradient = jax.jit(learn)(params, inputs.astype(jnp.bfloat16))
    for before, after in zip(jax.tree.leaves(carry), jax.tree.leaves(final), strict=True):
        assert before.dtype == after.dtype
        assert before.dtype in (jnp.float32, jnp.complex64, jnp.int32)
    assert bool(jnp.isfinite(outputs).all())
    assert all(x.dtype == jnp.float32 and bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient))
    _, steps = jax.jit(functools.partial(step_by_step, model))(params, inputs.astype(jnp.bfloat16), done, carry)
    outputs, steps = np.asarray(outputs, np.float32), np.asarray(steps, np.float32)
    # bfloat16 has 8 bits: a hundredth of an array's size is a few roundings.
    tolerance, size = 0.01, np.abs(steps).max()
    if np.abs(outputs - steps).max() > tolerance * size:
        # A deep model rounds more often, and step by step at other places: no two roundings of its own apart.
        _, unrounded = jax.jit(exact.apply)(params, inputs.astype(jnp.bfloat16).astype(jnp.float32), done, carry)
        tolerance = 2 * np.abs(outputs - unrounded).max() / size
    check_close(outputs, steps, tolerance=tolerance)


def check_vmap_over_parameters(model: SequenceModel, features: int) -> None:
    """Seeds in one program give what each gives alone, gradients included."""
    inputs, done, carry = sequence(model, features)
    # Arrays of NumPy: those of JAX would compile a program for each shape of a parameter.
    seeds = [jax.device_get(initial_params(model, features))]
    seeds.append(jax.tree.map(lambda x: (0.9 * x + 0.01).astype(x.dtype), seeds[0]))
    gradient = gradient_function(model, features)
    stacked = jax.tree.map(lambda *x: np.stack(x), *seeds)
    together = jax.device_get(jax.jit(jax.vmap(gradient, in_axes=(0, None, None, None)))(stacked, inputs, carry, done))
    for i, params in enumerate(seeds):
        # The gradient by what scales a memory adds up terms of either sign, which may be much larger than their sum.
        check_close(jax.tree.map(lambda x, i=i: x[i], together), gradient(params, inputs, carry, done), floor=1.0)
