"""The check of a sequence model's gradients, against finite differences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.testing.assertions import all_finite, close, is_float, require
from memorax.types import Array, PyTree

Summed = Callable[[PyTree, Any, Any, PyTree, Any], tuple[Array, tuple[PyTree, Array, PyTree]]]
"""`(params, inputs [B, T, F], done [B, T], carry, weights [B, T, D])` to the sum of the outputs times the weights, and
its gradients by the parameters, the inputs and the carry, compiled."""

PARAMETERS, INPUTS, CARRY = range(3)
"""The arguments that a gradient is taken by, as they stand in the result of `Summed`."""

STEP_SIZE = 3e-4
"""How far parameters, inputs and carries move for a finite difference, as a fraction of their size."""

LONGER = 3
"""How many times longer than the sequences of the check those are along which every step must hand gradients on."""

BLOCK = 4
"""How many steps in a row have their inputs moved there, or their outputs looked at."""


def check_gradient(
    model: nn.Module, params: PyTree, inputs: Any, done: Any, first: PyTree, history: PyTree, width: int
) -> None:
    """Gradients are finite, stop at a reset, and are those of the outputs in time.

    `width` is D, the features of the outputs.
    """
    batch_size, num_steps, features = inputs.shape
    middle, length = num_steps // 2, LONGER * num_steps
    summed = _compiled(model)

    # One compiled program serves short and long sequences: what follows the short ones has no weight.
    following = ((0, 0), (0, length - num_steps))
    after = np.random.default_rng(3).standard_normal((batch_size, length - num_steps, features)).astype(np.float32)
    inputs, done = np.concatenate([inputs, after], axis=1), np.pad(done, following)
    never, steps = np.zeros_like(done), np.arange(length)[:, None]
    weights = np.asarray(jax.random.normal(jax.random.key(1), (batch_size, num_steps, width)))
    weights = np.pad(weights / np.float32(math.sqrt(math.prod(weights.shape) / 2)), (*following, (0, 0)))
    early, late = (np.where(steps < middle, *pair) for pair in ((weights, 0.0), (0.0, weights)))

    reset, starts = done.copy(), never.copy()
    reset[:, middle], starts[:, 0] = True, True
    _, gradients = summed(params, inputs, reset, first, late)
    all_finite("gradients are finite", gradients)
    across = (gradients[INPUTS][:, :middle], gradients[CARRY])
    close("no gradient flows across a done", across, jax.tree.map(jnp.zeros_like, across), 0.0)
    _, gradients = summed(params, inputs, starts, filled(history, jnp.nan), late)
    all_finite("gradients are finite where a reset drops a carry of NaN", gradients[:CARRY])

    # Against finite differences, in directions that move every number by a fraction of the size of its array. First
    # the parameters are moved off the places they start from, where a bound on them may have a kink.
    random = np.random.default_rng(2)
    params, first, history = jax.device_get((params, first, history))
    params = _moved(params, _direction(random, params), 100 * STEP_SIZE)
    going_on = _Place(summed, (params, inputs, history), never, late)
    starting = _Place(summed, (params, inputs, history), done, late)
    at_start = done[..., None]

    def of_inputs() -> np.ndarray:
        return np.pad(_direction(random, inputs[:, :num_steps]), (*following, (0, 0)))

    for _ in range(3):
        _check_slope(going_on, PARAMETERS, "through time", _direction(random, params), first, may_bend=False)
        _check_slope(going_on, INPUTS, "through time", of_inputs(), first)
        _check_slope(starting, PARAMETERS, "also where episodes start", _direction(random, params), first)
        _check_slope(starting, INPUTS, "also where episodes start", of_inputs(), first)
        direction = np.where(at_start, of_inputs(), 0.0)
        _check_slope(starting, INPUTS, "also where episodes start", direction, first)

    # What a carry holds may be seen in the steps that follow alone, all else is looked at late. A model may take its
    # carry as it is given (`RTRL`): a leaf without any gradient stays where it is.
    of_carry = _Place(summed, (params, inputs, history), never, early)
    for _ in range(3):
        direction = jax.tree.map(
            lambda d, g: d * np.any(g != 0), _direction(random, history), of_carry.gradients[CARRY]
        )
        _check_slope(of_carry, CARRY, "through time", direction, first)

    _check_along(going_on, random, first)


def _check_along(place: _Place, random: np.random.Generator, first: PyTree) -> None:
    """Blocks of inputs move, the blocks between are looked at: a step that hands no gradient on takes a good part."""
    inputs, length = place.arguments[INPUTS], place.done.shape[1]
    weights = random.standard_normal(place.weights.shape) / math.sqrt(place.weights.size / 2)
    even = np.arange(length)[:, None] // BLOCK % 2 == 0
    for moves in (even, ~even):
        between = np.where(moves, 0.0, weights).astype(np.float32)
        along = dataclasses.replace(place, weights=between)
        for _ in range(2):
            direction = np.where(moves, _direction(random, inputs), 0.0)
            _check_slope(along, INPUTS, f"through time, along {length} steps", direction, first)


def _compiled(model: nn.Module) -> Summed:
    """`Summed` of a model; a leaf of the carry that holds no real or complex numbers has a gradient of zero."""

    @jax.jit
    def summed(params: PyTree, inputs: Array, done: Array, carry: PyTree, weights: Array) -> Any:
        def loss(params: PyTree, inputs: Array, carry: PyTree) -> Array:
            outputs: Any = model.apply(params, inputs, done, carry)[1]
            return jnp.sum(weights * outputs)

        value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2), allow_int=True)(params, inputs, carry)
        return value, (*gradients[:2], jax.tree.map(lambda x, g: g if is_float(x) else 0.0, carry, gradients[2]))

    return summed


@dataclasses.dataclass
class _Place:
    """Where a gradient is taken: the parameters, inputs and carry, and what of the outputs is looked at."""

    summed: Summed
    arguments: tuple[PyTree, Any, PyTree]
    done: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        # Once for all directions: only what the differences need is computed for each.
        self.gradients = jax.device_get(self._at(self.arguments)[1])

    def _at(self, arguments: tuple[PyTree, Any, PyTree]) -> tuple[Array, tuple[PyTree, Array, PyTree]]:
        params, inputs, carry = arguments
        return self.summed(params, inputs, self.done, carry, self.weights)

    def slope(self, argument: int, direction: PyTree) -> tuple[float, float]:
        """The slope along a direction by the gradient, and the size of what it adds up."""
        pairs = zip(*map(jax.tree.leaves, (self.gradients[argument], direction)), strict=True)
        products = [(g * d).real.astype(np.float64) for g, d in pairs]
        return sum(x.sum() for x in products), np.sqrt(sum((x**2).sum() for x in products))

    def difference(self, argument: int, direction: PyTree, step: float) -> float:
        """The slope along a direction by a finite difference."""
        ahead, behind = (self._sum_at(argument, direction, signed) for signed in (step, -step))
        return (ahead - behind) / (2 * step)

    def _sum_at(self, argument: int, direction: PyTree, step: float) -> float:
        params, inputs, carry = (
            _moved(x, direction, step) if i == argument else x for i, x in enumerate(self.arguments)
        )
        return float(self._at((params, inputs, carry))[0])


def _check_slope(
    place: _Place, argument: int, where: str, direction: PyTree, first: PyTree, may_bend: bool = True
) -> None:
    """The gradient along a direction is the finite difference, or differences say nothing there."""
    by_gradient, size = place.slope(argument, direction)
    expected = place.difference(argument, direction, STEP_SIZE)
    right = _agree(by_gradient, expected, size)
    if not right and argument == PARAMETERS:
        # A carry with a past may bring the gradient of that past along (see `RTRL`): a difference does not see it.
        fresh = dataclasses.replace(place, arguments=(*place.arguments[:CARRY], first))
        slope, fresh_size = fresh.slope(argument, direction)
        right = _agree(slope, fresh.difference(argument, direction, STEP_SIZE), fresh_size)
    if not right and may_bend:
        # First steps and carries lie where some models jump or bend: there differences do not agree among
        # themselves, and say nothing.
        right = not _agree(place.difference(argument, direction, STEP_SIZE / 3), expected, size)
    require(
        right,
        f"the gradient by the {('parameters', 'inputs', 'carry')[argument]} is that of the outputs, {where}: "
        f"{by_gradient:.4f}, and {expected:.4f} by finite differences",
    )


def _agree(slope: float, expected: float, size: float) -> bool:
    return abs(slope - expected) <= 0.05 * max(abs(expected), size) + 3e-3


# Of NumPy: a compiled program of these would take as long as that of a small model.


def filled(carry: PyTree, value: float) -> PyTree:
    """The same carry with a value in place of every real or complex number."""
    return jax.tree.map(lambda x: np.full_like(x, value) if is_float(x) else x, carry)


def _moved(params: PyTree, direction: PyTree, step: float) -> PyTree:
    return jax.tree.map(lambda p, d: (p + step * d).astype(p.dtype), params, direction)


def _direction(random: np.random.Generator, params: PyTree) -> PyTree:
    """A random direction: normal, of the size of each leaf; whole numbers, and what is infinite, stay as they are."""

    def moved(x: np.ndarray) -> np.ndarray:
        if not is_float(x) or not np.isfinite(x).all():
            return np.zeros_like(x)
        size = max(float(np.sqrt(np.mean(np.abs(x) ** 2))) if x.size else 0.0, 0.1)
        normal = random.standard_normal((2, *x.shape))
        complex_normal = (normal[0] + 1j * normal[1]) / np.sqrt(2)
        return (size * (complex_normal if np.iscomplexobj(x) else normal[0])).astype(x.dtype)

    return jax.tree.map(moved, params)
