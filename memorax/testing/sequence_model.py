"""The check of sequence models."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
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
from memorax.testing.sequence_model_gradient import check_gradient, filled
from memorax.types import Array, PyTree
from memorax.validation import whole_number

Run = Callable[[PyTree, Any, Any, PyTree], tuple[PyTree, Any]]
"""`(params, inputs [B, T, F], done [B, T], carry) -> (carry, outputs [B, T, D])`, compiled."""

EPISODE_CHUNKS = 40
"""How many times longer than the sequences of the check the one long episode is."""

DELAYS = (0, 1, 2, 4, 8, 16)
"""After how many steps an input that shows at first must show at the end of the long episode."""

LARGE = (10.0, -10.0, 1000.0, -1000.0)
"""Sizes of inputs that no other of the long episode comes near."""

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
    stop every gradient to a part of its carry. One that stands in for another on purpose, such as straight through a
    rounding, is exempt by `("the gradient by",)`.

    Args:
        model: `model(inputs [B, T, F], done [B, T], carry) -> (carry, outputs [B, T, D])` with
            `initialize_carry(key, (B, F))`.
        features: F.
        batch_size: B of the check.
        num_steps: T of the check; one episode is 40 times as long. A prime number is no multiple of the chunks that a
            model may compute in. Gradients by the inputs are also followed along three times as many steps.
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
    # Drawn anew: a number added to every feature would not show behind a normalization.
    others = np.random.default_rng(seed).standard_normal(inputs.shape).astype(np.float32)
    episode = np.asarray(jax.random.normal(keys[4], (batch_size, EPISODE_CHUNKS * num_steps, features)))
    with _fails_in_one_line(inputs[:1], done[:1]):
        alone = model.initialize_carry(keys[2], (1, features))
    params = _off_zero(jax.device_get(jax.jit(model.init)(keys[3], inputs[:, :1], done[:, :1], first)))
    run: Run = jax.jit(model.apply)

    # A carry with a history, as between two rollouts.
    history, outputs = run(params, inputs[:, ::-1], jnp.zeros_like(done), first)
    same_shapes("a torso keeps the shapes and types of its carry", first, history)
    hold(
        exempt,
        lambda: _check_steps(run, params, inputs, done, history, tolerance),
        lambda: _check_what_outputs_depend_on(run, params, inputs, others, first, history),
        lambda: _check_rows(run, params, inputs, others, done, first, history),
        lambda: _check_leaks(run, params, inputs, others, done, first, history),
        lambda: _check_long_episode(run, params, episode, first, alone, num_steps, tolerance),
        lambda: check_gradient(model, params, inputs, done, first, history, outputs.shape[-1]),
    )


def _check_first_steps(model: nn.Module, key: Array, inputs: Array, done: Array) -> None:
    """Raise a `ValueError` in one line where a model does not run at all."""

    def first_steps() -> tuple[PyTree, Any]:
        carry = model.initialize_carry(key, (inputs.shape[0], inputs.shape[2]))
        params = model.init(key, inputs, done, carry)
        return params, model.apply(params, inputs, done, carry)

    with _fails_in_one_line(inputs, done):
        _, returned = without_state_or_noise("model", first_steps)
    if not isinstance(returned, tuple) or len(returned) != 2 or not hasattr(returned[1], "shape"):
        raise ValueError(f"model must return (carry, outputs), and not {describe_returned(returned)}")


@contextlib.contextmanager
def _fails_in_one_line(inputs: Any, done: Any) -> Iterator[None]:
    """Turn what a model that does not run raises into a `ValueError` that names the shapes."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if isinstance(error.__cause__, flax.errors.FlaxError):
            raise
        raise ValueError(
            f"model fails on inputs {list(inputs.shape)} and done {list(done.shape)}, [B, T, F] and [B, T]: "
            f"{' '.join(str(error).split())}"
        ) from error


def _check_steps(run: Run, params: PyTree, inputs: Array, done: Array, carry: PyTree, tolerance: float) -> None:
    """The whole sequence and single steps agree; chunks are checked along a long episode."""
    batch_size, num_steps = done.shape
    whole = after, outputs = run(params, inputs, done, carry)
    right_shape = outputs.ndim == 3 and outputs.shape[:2] == (batch_size, num_steps)
    require(right_shape, f"outputs are [B, T, D], not {outputs.shape}")
    all_finite("outputs are finite", outputs)
    tolerance = max(tolerance, _rounding(run, whole, params, inputs, done, carry))
    step_carry, steps = _in_chunks(run, params, inputs, done, carry, 1)
    close("single steps equal the whole sequence (outputs)", steps, outputs, tolerance)
    close("single steps equal the whole sequence (final carry)", step_carry, after, tolerance)


def _in_chunks(run: Run, params: PyTree, inputs: Any, done: Any, carry: PyTree, chunk: int) -> tuple[PyTree, Array]:
    """A sequence in several calls: `(final carry, outputs [B, T, D])`."""
    pieces = []
    for begin in range(0, done.shape[1], chunk):
        piece = slice(begin, begin + chunk)
        carry, output = run(params, inputs[:, piece], done[:, piece], carry)
        pieces.append(output)
    return carry, jnp.concatenate(pieces, axis=1)


def _rounding(run: Run, returned: PyTree, params: PyTree, inputs: Any, done: Any, carry: PyTree) -> float:
    """How far rounding may move what a model returned, as a fraction of an array's largest magnitude.

    A model may multiply what it is given: sLSTM divides by a sum of gates that may be small. It is four times as far as
    one rounding of every input moves it, as every operation rounds, and never far enough to hide a mistake.
    """
    rounded = run(params, inputs * (1 + 2.0**-23), done, carry)
    leaves = zip(jax.tree.leaves(rounded), jax.tree.leaves(returned), strict=True)
    pairs = [largest_difference(x, y) for x, y in leaves if is_float(y)]
    moved = max((difference / magnitude for difference, magnitude in pairs if magnitude > 0), default=0.0)
    return min(4.0 * moved, LARGEST_ROUNDING)


def _check_what_outputs_depend_on(
    run: Run, params: PyTree, inputs: Array, others: np.ndarray, first: PyTree, history: PyTree
) -> None:
    """Other inputs show, after a past or in a first episode, and so does what a carry holds."""
    never = np.zeros(inputs.shape[:2], bool)

    def outputs(inputs: Any, carry: PyTree) -> Array:
        return run(params, inputs, never, carry)[1]

    after_history, from_first = outputs(inputs, history), outputs(inputs, first)
    require(
        not same(after_history, outputs(others, history)) or not same(from_first, outputs(others, first)),
        "outputs depend on the inputs: other inputs give the same",
    )
    require(
        not jax.tree.leaves(first) or not same(after_history, from_first),
        "outputs depend on the carry: with one that has a past they are those of the initial one",
    )


def _check_rows(
    run: Run, params: PyTree, inputs: Array, others: np.ndarray, done: Array, first: PyTree, history: PyTree
) -> None:
    """No row of the batch acts on another, by its inputs, by where it is reset or by its carry."""
    batch_size = len(done)
    _, outputs = run(params, inputs, done, history)
    for row in range(batch_size):
        changes = np.arange(batch_size) == row
        other_inputs = np.where(changes[:, None, None], others, inputs)
        other_carry = jax.tree.map(lambda x, y, c=changes: np.where(_along(c, x), y, x), history, first)
        _, changed = run(params, other_inputs, done ^ changes[:, None], other_carry)
        unchanged, expected = (np.asarray(x)[~changes] for x in (changed, outputs))
        close("no row of a batch changes another", unchanged, expected, 1e-6)


def _check_leaks(
    run: Run, params: PyTree, inputs: Array, others: np.ndarray, done: Array, first: PyTree, history: PyTree
) -> None:
    """Nothing passes a reset or runs backwards in time."""
    middle = done.shape[1] // 2
    _, outputs = run(params, inputs, done, history)
    reset = done.at[:, middle].set(True)
    _, clean = run(params, inputs, reset, history)
    poison = filled(history, jnp.nan)
    _, after_poison = run(params, inputs.at[:, :middle].set(jnp.nan), reset, poison)
    close("nothing before a done changes what follows, be it NaN", after_poison[:, middle:], clean[:, middle:], 1e-6)
    _check_resets_in_turn(run, params, inputs, first)

    starts, goes_on = done.at[:, 0].set(True), done.at[:, 0].set(False)
    infinite = filled(history, jnp.inf)
    _, fresh = run(params, inputs, starts, first)
    _, revived = run(params, inputs, starts, infinite)
    close("an infinite carry does not survive a reset", revived, fresh, 1e-6)
    unmarked = run(params, inputs, goes_on, first)
    close("a reset gives the initial carry", run(params, inputs, starts, history), unmarked, 1e-6)

    _, changed = run(params, inputs.at[:, middle:].set(others[:, middle:]), done, history)
    close("nothing later changes anything earlier", changed[:, :middle], outputs[:, :middle], 1e-6)


def _check_resets_in_turn(run: Run, params: PyTree, inputs: Array, first: PyTree) -> None:
    """Rows that are reset at steps of their own forget, each at its own."""
    batch_size, num_steps = inputs.shape[:2]
    at = (num_steps // 2 + np.arange(batch_size)) % num_steps  # (B,)
    reset, before = (compare(np.arange(num_steps), at[:, None]) for compare in (np.equal, np.less))  # (B, T)
    _, clean = run(params, inputs, reset, first)
    poisoned = np.where(before[..., None], np.nan, inputs)
    _, after_poison = run(params, poisoned, reset, filled(first, jnp.nan))
    forgotten, expected = (np.asarray(x)[~before] for x in (after_poison, clean))
    close("nothing before a done changes what follows, where no other row has one", forgotten, expected, 1e-6)


def _check_long_episode(
    run: Run, params: PyTree, episode: np.ndarray, first: PyTree, alone: PyTree, num_steps: int, tolerance: float
) -> None:
    """An episode far longer than the sequences of the check is remembered as its first steps are.

    It is that of one row alone, so that no further program has to be compiled for a batch of another size; in chunks it
    is one of all rows.
    """
    batch_size, length = episode.shape[:2]
    name, row = f"after {length} steps of one episode", episode[:1]
    never = np.zeros((batch_size, length), bool)
    with _fails_in_one_line(row, never[:1]):
        whole = after, outputs = run(params, row, never[:1], alone)
    pieces = carry, steps = _in_chunks(run, params, episode, never, first, num_steps)
    all_finite(f"{name} outputs and carry are finite", (outputs, after, steps, carry))
    rounding = max(tolerance, _rounding(run, whole, params, row, never[:1], alone))
    _check_row_alone(alone, first, outputs, steps, num_steps, rounding)
    close(f"{name} chunks equal the whole sequence", _first_row(pieces), whole, rounding)
    _check_inputs_reach(name, run, params, row, outputs, alone)

    end = never[:1].copy()
    end[:, -num_steps] = True
    _, restarted = run(params, row, end, alone)
    _, fresh = run(params, episode[:, -num_steps:], never[:, -num_steps:], first)
    # The other rows stand beside it: rounding is a fraction of the largest number of the whole batch.
    restarted = jnp.concatenate([restarted[:, -num_steps:], fresh[1:]])
    close(f"{name} a reset gives the initial carry", restarted, fresh, rounding)

    # Episodes of every length, from hundreds of steps down to one: a reset falls on every place in a model's chunks.
    often = np.random.default_rng(0).random(never.shape) < np.linspace(0.0, 0.8, length)
    whole = run(params, row, often[:1], alone)
    rounding = max(tolerance, _rounding(run, whole, params, row, often[:1], alone))
    pieces = _in_chunks(run, params, episode, often, first, num_steps)
    close(f"along {length} steps of many episodes chunks equal the whole sequence", _first_row(pieces), whole, rounding)


def _check_row_alone(
    alone: PyTree, first: PyTree, outputs: Array, steps: Array, num_steps: int, rounding: float
) -> None:
    """The first chunk of a batch gives its first row what a batch of that row gives."""
    truth = "a row alone gives what it gives in a batch"
    close(f"{truth} (initial carry)", alone, _first_row(first), rounding)
    same_shapes(f"{truth} (outputs)", outputs, steps[:1])
    # What follows the first chunk is left as it is: rounding is a fraction of the largest number of the whole.
    in_chunk = np.where(np.arange(steps.shape[1])[:, None] < num_steps, steps[:1], outputs)
    close(f"{truth} (outputs)", outputs, in_chunk, rounding)


def _check_inputs_reach(
    name: str, run: Run, params: PyTree, episode: np.ndarray, outputs: Array, first: PyTree
) -> None:
    """What a step shows at first, to itself and to steps after it, a step shows at the end."""
    never, delays = np.zeros(episode.shape[:2], bool), np.array(DELAYS)

    def reach(place: int, size: float) -> np.ndarray:
        """How far another input at a place moves the outputs after each delay."""
        other = episode.copy()
        other[:, place] = -size * (episode[:, place] + 1.0)
        _, changed = run(params, other, never, first)
        moved = np.abs(np.asarray(changed) - np.asarray(outputs))
        return np.max(moved[:, place + delays], axis=(0, 2))

    # The step itself and the next must show whatever shows at first; later ones what is clearly more than rounding.
    at_first = reach(1, 1.0) > np.where(delays <= 1, 0.0, LARGEST_ROUNDING * np.max(np.abs(outputs)))
    late = episode.shape[1] - 2 - max(DELAYS)
    at_last = reach(late, 1.0) > 0
    # A small input may rightly show no more, as in the largest of all inputs, in a sign or behind a rectifier that is
    # closed there: then a large one must, at one of several steps.
    for back, size in itertools.product((0, 3, 10), LARGE):
        if np.any(at_first & ~at_last):
            at_last |= reach(late - back, size) > 0
    for delay, shown, still in zip(DELAYS, at_first, at_last, strict=True):
        seen = f"is still remembered {delay} step(s) later" if delay else "is still seen"
        require(bool(still or not shown), f"{name} an input {seen}")


def _off_zero(params: PyTree) -> PyTree:
    """The same parameters with small random numbers where a whole array is zero: what it multiplies shows nothing."""
    random = np.random.default_rng(0)

    def moved(x: np.ndarray) -> np.ndarray:
        return x if not is_float(x) or np.any(x) else (0.1 * random.standard_normal(x.shape)).astype(x.dtype)

    return jax.tree.map(moved, params)


def _first_row(carry: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x[:1], carry)


def _along(rows: np.ndarray, x: Array) -> np.ndarray:
    """Rows (B,) as an array that selects in one of shape (B, ...)."""
    return rows.reshape(-1, *[1] * (x.ndim - 1))
