"""The check of sequence models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.network_checks import without_state_or_noise
from memorax.environments.environment import describe_returned
from memorax.networks.sequence_models.sequence_model_wrapper import check_is_sequence_model
from memorax.testing.assertions import all_finite, close, hold, is_float, largest_difference, require, same, same_shapes
from memorax.types import Array, PyTree
from memorax.validation import whole_number

Run = Callable[[PyTree, Array, Array, PyTree], tuple[PyTree, Any]]
"""`(params, inputs [B, T, F], done [B, T], carry) -> (carry, outputs [B, T, D])`, compiled."""

EPISODE_CHUNKS = 40
"""How many times longer than the sequences of the check the one long episode is."""

STEP_SIZE = 3e-4
"""How far parameters, inputs and carries move for a finite difference, as a fraction of their size."""

LARGEST_ROUNDING = 1e-3
"""The most that is taken for rounding, as a fraction of an array's largest magnitude."""


def check_sequence_model(
    model: nn.Module,
    features: int,
    batch_size: int = 3,
    num_steps: int = 23,
    seed: int = 0,
    tolerance: float = 1e-5,
    exempt: Sequence[str] = (),
) -> None:
    """Check that a sequence model acts as it learns, never leaks, remembers on and learns through time.

    Parameters that begin as zeros are random here, as what lies before a layer of zeros would not show.

    Gradients by the parameters, the inputs and the carry are compared with finite differences. Where a model jumps or
    bends sharply, as at a choice between experts, differences say nothing and a wrong gradient is not seen. A model may
    stop every gradient to a part of its carry.

    Args:
        model: `model(inputs [B, T, F], done [B, T], carry) -> (carry, outputs [B, T, D])` with
            `initialize_carry(key, (B, F))`.
        features: F.
        batch_size: B of the check.
        num_steps: T of the check; one episode is 40 times as long. A prime number is no multiple of the chunks that a
            model may compute in.
        seed: random seed of the inputs and of `done`.
        tolerance: largest difference allowed in float32, as a fraction of an array's largest magnitude (`check_close`);
            where a rounding of the inputs alone makes more, up to 1e-3, so much is allowed.
        exempt: truths that need not hold, each by the words that its error begins with.

    Raises:
        AssertionError: naming the truth that does not hold.
        ValueError: if `model` is a cell, a function or a module without a carry, or does not run.
    """
    check_is_sequence_model(model, "model")
    features = whole_number("features", features)
    keys = jax.random.split(jax.random.key(seed), 5)
    inputs = jax.random.normal(keys[0], (batch_size, num_steps, features))
    done = jax.random.bernoulli(keys[1], 0.15, (batch_size, num_steps))
    _check_first_steps(model, keys[2], inputs, done)
    first = model.initialize_carry(keys[2], (batch_size, features))
    params = _off_zero(jax.device_get(jax.jit(model.init)(keys[3], inputs[:, :1], done[:, :1], first)))
    run: Run = jax.jit(model.apply)

    # A carry with a history, as between two rollouts.
    history, _ = run(params, inputs[:, ::-1], jnp.zeros_like(done), first)
    same_shapes("a torso keeps the shapes and types of its carry", first, history)
    hold(
        exempt,
        lambda: _check_steps(run, params, inputs, done, history, tolerance),
        lambda: _check_what_outputs_depend_on(run, params, inputs, done, first, history),
        lambda: _check_leaks(run, params, inputs, done, first, history),
        lambda: _check_long_episode(run, params, keys[4], inputs, first, tolerance),
        lambda: _check_gradient(model, params, inputs, done, first, history),
    )


def _check_first_steps(model: nn.Module, key: Array, inputs: Array, done: Array) -> None:
    """Raise a `ValueError` in one line where a model does not run at all."""

    def first_steps() -> tuple[PyTree, Any]:
        carry = model.initialize_carry(key, (inputs.shape[0], inputs.shape[2]))
        params = model.init(key, inputs, done, carry)
        return params, model.apply(params, inputs, done, carry)

    try:
        _, returned = without_state_or_noise("model", first_steps)
    except (TypeError, ValueError) as error:
        if isinstance(error.__cause__, flax.errors.FlaxError):
            raise
        raise ValueError(
            f"model fails on inputs {list(inputs.shape)} and done {list(done.shape)}, [B, T, F] and [B, T]: "
            f"{' '.join(str(error).split())}"
        ) from error
    if not isinstance(returned, tuple) or len(returned) != 2 or not hasattr(returned[1], "shape"):
        raise ValueError(f"model must return (carry, outputs), and not {describe_returned(returned)}")


def _check_steps(run: Run, params: PyTree, inputs: Array, done: Array, carry: PyTree, tolerance: float) -> None:
    """The whole sequence and single steps agree; chunks are checked along a long episode."""
    batch_size, num_steps = done.shape
    after, outputs = run(params, inputs, done, carry)
    require(outputs.shape[:2] == (batch_size, num_steps), f"outputs are [B, T, D], not {outputs.shape}")
    all_finite("outputs are finite", outputs)
    tolerance = max(tolerance, _rounding(run, params, inputs, done, carry))
    step_carry, steps = _in_chunks(run, params, inputs, done, carry, 1)
    close("single steps equal the whole sequence (outputs)", steps, outputs, tolerance)
    close("single steps equal the whole sequence (final carry)", step_carry, after, tolerance)


def _in_chunks(run: Run, params: PyTree, inputs: Array, done: Array, carry: PyTree, chunk: int) -> tuple[PyTree, Array]:
    """A sequence in several calls: `(final carry, outputs [B, T, D])`."""
    pieces = []
    for begin in range(0, done.shape[1], chunk):
        piece = slice(begin, begin + chunk)
        carry, output = run(params, inputs[:, piece], done[:, piece], carry)
        pieces.append(output)
    return carry, jnp.concatenate(pieces, axis=1)


def _rounding(run: Run, params: PyTree, inputs: Array, done: Array, carry: PyTree) -> float:
    """How far rounding may move what a model returns, as a fraction of an array's largest magnitude.

    A model may multiply what it is given: sLSTM divides by a sum of gates that may be small. It is four times as far as
    one rounding of every input moves it, as every operation rounds, and never far enough to hide a mistake.
    """
    given, rounded = (jax.tree.leaves(run(params, x, done, carry)) for x in (inputs, inputs * (1 + 2.0**-23)))
    pairs = [largest_difference(x, y) for x, y in zip(rounded, given, strict=True) if is_float(y)]
    moved = max((difference / magnitude for difference, magnitude in pairs if magnitude > 0), default=0.0)
    return min(4.0 * moved, LARGEST_ROUNDING)


def _check_what_outputs_depend_on(
    run: Run, params: PyTree, inputs: Array, done: Array, first: PyTree, history: PyTree
) -> None:
    """Another input shows, and so does what a carry holds."""
    never = jnp.zeros_like(done)
    (_, outputs), (_, others), (_, without) = (
        run(params, *given)
        for given in ((inputs, never, history), (inputs + 1.0, never, history), (inputs, never, first))
    )
    require(not same(outputs, others), "outputs depend on the inputs: other inputs give the same")
    require(
        not jax.tree.leaves(first) or not same(outputs, without),
        "outputs depend on the carry: with one that has a past they are those of the initial one",
    )


def _check_leaks(run: Run, params: PyTree, inputs: Array, done: Array, first: PyTree, history: PyTree) -> None:
    """Nothing passes a reset, runs backwards in time or from one row of the batch to another."""
    middle = done.shape[1] // 2
    _, outputs = run(params, inputs, done, history)
    reset = done.at[:, middle].set(True)
    _, clean = run(params, inputs, reset, history)
    poison = _filled(history, jnp.nan)
    _, after_poison = run(params, inputs.at[:, :middle].set(jnp.nan), reset, poison)
    close("nothing before a done changes what follows, be it NaN", after_poison[:, middle:], clean[:, middle:], 1e-6)

    starts, goes_on = done.at[:, 0].set(True), done.at[:, 0].set(False)
    infinite = _filled(history, jnp.inf)
    _, fresh = run(params, inputs, starts, first)
    _, revived = run(params, inputs, starts, infinite)
    close("an infinite carry does not survive a reset", revived, fresh, 1e-6)
    unmarked = run(params, inputs, goes_on, first)
    close("a reset gives the initial carry", run(params, inputs, starts, history), unmarked, 1e-6)

    _, changed = run(params, inputs.at[:, middle:].add(1.0), done, history)
    close("nothing later changes anything earlier", changed[:, :middle], outputs[:, :middle], 1e-6)
    other_carry = _with_first_row(history, first)
    _, changed = run(params, inputs.at[0].add(1.0), done.at[0].set(~done[0]), other_carry)
    close("no row of a batch changes another", changed[1:], outputs[1:], 1e-6)


def _check_long_episode(run: Run, params: PyTree, key: Array, inputs: Array, first: PyTree, tolerance: float) -> None:
    """An episode far longer than the sequences of the check is remembered as its first steps are."""
    batch_size, num_steps, features = inputs.shape
    length = EPISODE_CHUNKS * num_steps
    episode = jax.random.normal(key, (batch_size, length, features))
    never = jnp.zeros((batch_size, length), bool)
    after, outputs = run(params, episode, never, first)
    name = f"after {length} steps of one episode"
    all_finite(f"{name} outputs and carry are finite", (outputs, after))
    tolerance = max(tolerance, _rounding(run, params, episode, never, first))
    pieces = _in_chunks(run, params, episode, never, first, num_steps)
    close(f"{name} chunks equal the whole sequence", pieces, (after, outputs), tolerance)

    # What a step shows at first, to itself and to the step after it, a step shows at the end.
    places = (1, length - 2)
    changed = [run(params, episode.at[:, t].set(-episode[:, t] - 1.0), never, first)[1] for t in places]
    for delay, reached in ((0, "is still seen"), (1, "is still remembered")):
        at_first, at_last = (
            not same(outputs[:, t + delay], other[:, t + delay]) for t, other in zip(places, changed, strict=True)
        )
        require(at_last or not at_first, f"{name} an input {reached}")

    end = never.at[:, -num_steps].set(True)
    _, restarted = run(params, episode, end, first)
    _, fresh = run(params, episode[:, -num_steps:], never[:, -num_steps:], first)
    close(f"{name} a reset gives the initial carry", restarted[:, -num_steps:], fresh, tolerance)


def _check_gradient(
    model: nn.Module, params: PyTree, inputs: Array, done: Array, first: PyTree, history: PyTree
) -> None:
    """Gradients are finite, stop at a reset, and are those of the outputs in time."""
    middle = done.shape[1] // 2
    shapes: Any = jax.eval_shape(model.apply, params, inputs, done, first)
    shape = shapes[1].shape
    weights = np.asarray(jax.random.normal(jax.random.key(1), shape)) / math.sqrt(math.prod(shape) / 2)
    late = np.where(np.arange(done.shape[1])[:, None] >= middle, weights, 0.0).astype(weights.dtype)
    early = weights - late

    @jax.jit
    def output(params: PyTree, inputs: Array, done: Array, carry: PyTree, weights: Array) -> Any:
        def loss(params: PyTree, inputs: Array, carry: PyTree) -> Array:
            outputs: Any = model.apply(params, inputs, done, carry)[1]
            return jnp.sum(weights * outputs)

        value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2), allow_int=True)(params, inputs, carry)
        return value, (*gradients[:2], jax.tree.map(lambda x, g: g if is_float(x) else 0.0, carry, gradients[2]))

    never = jnp.zeros_like(done)
    reset = done.at[:, middle].set(True)
    _, gradients = output(params, inputs, reset, first, late)
    all_finite("gradients are finite", gradients)
    across = (gradients[1][:, :middle], gradients[2])
    close("no gradient flows across a done", across, jax.tree.map(jnp.zeros_like, across), 0.0)
    _, gradients = output(params, inputs, never.at[:, 0].set(True), _filled(history, jnp.nan), late)
    all_finite("gradients are finite where a reset drops a carry of NaN", gradients[:2])

    # Against finite differences, in directions that move every number by a fraction of the size of its array. First
    # the parameters are moved off the places they start from, where a bound on them may have a kink.
    random = np.random.default_rng(2)
    params, inputs, first, history = jax.device_get((params, inputs, first, history))
    params = _moved(params, _direction(random, params), 100 * STEP_SIZE)

    def slope(place: int, direction: PyTree, done: Array, carry: PyTree, step: float) -> tuple[float, float, float]:
        """The slope along a direction by the gradient and by a difference, and the size of what they add up."""
        # What a carry holds may be seen in the steps that follow alone, all else is looked at late.
        weights = early if place == 2 else late

        def moved(step: float) -> Any:
            at = [params, inputs, carry]
            at[place] = _moved(at[place], direction, step)
            return output(at[0], at[1], done, at[2], weights)

        _, gradients = moved(0.0)
        ahead, behind = float(moved(step)[0]), float(moved(-step)[0])
        pairs = zip(*map(jax.tree.leaves, jax.device_get((gradients[place], direction))), strict=True)
        products = [(g * d).real.astype(np.float64) for g, d in pairs]
        size = np.sqrt(sum((x**2).sum() for x in products))
        return sum(x.sum() for x in products), (ahead - behind) / (2 * step), size

    def agree(slope: float, expected: float, size: float) -> bool:
        return abs(slope - expected) <= 0.05 * max(abs(expected), size) + 3e-3

    def check(place: int, where: str, direction: PyTree, done: Array) -> None:
        by_gradient, expected, size = slope(place, direction, done, history, STEP_SIZE)
        right = agree(by_gradient, expected, size)
        if not right and place == 0:
            # A carry with a past may bring the gradient of that past along (see `RTRL`): a difference does not see it.
            right = agree(*slope(place, direction, done, first, STEP_SIZE))
        if not right and not (place == 0 and done is never):
            # First steps and carries lie where some models jump or bend: there differences do not agree among
            # themselves, and say nothing.
            _, nearer, _ = slope(place, direction, done, history, STEP_SIZE / 3)
            right = not agree(nearer, expected, size)
        require(
            right,
            f"the gradient by the {('parameters', 'inputs', 'carry')[place]} is that of the outputs, {where}: "
            f"{by_gradient:.4f}, and {expected:.4f} by finite differences",
        )

    starts = np.asarray(done)[..., None]
    for _ in range(3):
        check(0, "through time", _direction(random, params), never)
        check(1, "through time", _direction(random, inputs), never)
        check(0, "also where episodes start", _direction(random, params), done)
        check(1, "also where episodes start", _direction(random, inputs), done)
        check(1, "also where episodes start", np.where(starts, _direction(random, inputs), 0.0), done)
    # A model may take its carry as it is given (`RTRL` again): a leaf without any gradient stays where it is.
    _, (_, _, by_carry) = jax.device_get(output(params, inputs, never, history, early))
    for _ in range(3):
        direction = jax.tree.map(lambda d, g: d * np.any(g != 0), _direction(random, history), by_carry)
        check(2, "through time", direction, never)


# Of NumPy: a compiled program of these would take as long as that of a small model.


def _off_zero(params: PyTree) -> PyTree:
    """The same parameters with small random numbers where a whole array is zero: what it multiplies shows nothing."""
    random = np.random.default_rng(0)

    def moved(x: np.ndarray) -> np.ndarray:
        return x if not is_float(x) or np.any(x) else (0.1 * random.standard_normal(x.shape)).astype(x.dtype)

    return jax.tree.map(moved, params)


def _filled(carry: PyTree, value: float) -> PyTree:
    return jax.tree.map(lambda x: np.full_like(x, value) if is_float(x) else x, carry)


def _with_first_row(carry: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: np.concatenate([np.asarray(y)[:1], np.asarray(x)[1:]]), carry, other)


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
