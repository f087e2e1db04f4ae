"""Spaces: what they hold, what they draw, what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space, environment_action, policy_space

SPACES = {
    "discrete": Discrete(3),
    "multi discrete": MultiDiscrete((2, 5)),
    "box": Box(-1.0, 2.0, (2, 3)),
    "box with a bound for each element": Box(np.asarray([0.0, -4.0]), np.asarray([1.0, 4.0]), (2,)),
    "unbounded box": Box(-np.inf, np.inf, (2,)),
    "half-bounded box": Box(np.asarray([-np.inf, 3.0]), np.asarray([-2.0, np.inf]), (2,)),
    "integer box": Box(0, 255, (4, 4, 1), jnp.uint8),
    "signed integer box": Box(np.asarray([-3, 100]), np.asarray([-1, 127]), (2,), jnp.int8),
    "box of bools": Box(False, True, (3,), jnp.bool_),
    "box without elements": Box(0.0, 1.0, (0, 3)),
    "dict": Dict({"image": Box(0.0, 1.0, (2, 2)), "goal": Discrete(4)}),
}


def draw(space: Space, count: int) -> Any:
    """`count` elements, drawn in one compiled call."""
    return jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), count))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_space_holds_what_it_draws(space: Space) -> None:
    drawn = draw(space, 50)
    assert bool(jax.jit(jax.vmap(space.contains))(drawn).all())


@pytest.mark.parametrize("name", [name for name in SPACES if name != "dict"])
def test_draws_have_the_shape_and_type_of_the_space(name: str) -> None:
    space = SPACES[name]
    drawn = jax.eval_shape(space.sample, jax.random.key(0))
    assert drawn.shape == space.shape
    assert drawn.dtype == space.dtype


def test_draws_reach_every_element() -> None:
    assert set(draw(Discrete(3), 200).tolist()) == {0, 1, 2}
    assert draw(MultiDiscrete((2, 5)), 200).max(axis=0).tolist() == [1, 4]
    assert set(draw(Box(0, 2, (), jnp.int32), 200).tolist()) == {0, 1, 2}


LIMITS = np.iinfo(np.int32)
LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (LIMITS.min, LIMITS.max, jnp.int32),
        (-np.inf, np.inf, jnp.int32),
        (0, LIMITS.max, jnp.int32),
        (LIMITS.min, 0, jnp.int32),
        (0, 2**32 - 1, jnp.uint32),
        (-LARGEST, LARGEST, jnp.float32),
        (-65504.0, 65504.0, jnp.float16),
    ],
)
def test_draws_are_spread_over_boxes_as_wide_as_their_type(low: float, high: float, dtype: Any) -> None:
    drawn = np.asarray(draw(Box(low, high, (), dtype), 1000)).astype(np.float64)
    low, high = max(low, -(2.0**31)) if low == -np.inf else low, min(high, 2.0**31) if high == np.inf else high
    middle, extent = low / 2 + high / 2, high / 2 - low / 2
    assert ((drawn >= low) & (drawn <= high)).all()
    assert np.abs((drawn - middle) / extent).max() > 0.99
    assert abs(((drawn - middle) / extent).mean()) < 0.1
    assert abs(((drawn - middle) / extent).std() - 3**-0.5) < 0.03  # that of a uniform distribution


def test_integers_are_drawn_between_bounds_of_each_element() -> None:
    space = Box(np.asarray([LIMITS.min, -1]), np.asarray([LIMITS.max, 1]), (2,), jnp.int32)
    drawn = np.asarray(draw(space, 300))
    assert len(np.unique(drawn[:, 0])) > 290
    assert set(drawn[:, 1].tolist()) == {-1, 0, 1}


def test_bounds_that_the_type_cannot_hold_are_those_of_the_type() -> None:
    space = Box(-np.inf, 256, (2,), jnp.uint8)
    np.testing.assert_array_equal(space.clip(jnp.asarray([300, -4])), [255, 0])
    assert bool(space.contains(jnp.asarray([255, 0], jnp.uint8)))


def test_the_nearest_float_to_a_limit_of_the_type_is_that_limit() -> None:
    """As a float32, the largest int32 is one more than it."""
    space = Box(np.float32(LIMITS.min), np.float32(LIMITS.max), (2,), jnp.int32)
    np.testing.assert_array_equal(space.clip(jnp.asarray([LIMITS.max, -4])), [LIMITS.max, -4])
    assert not Box(np.float32(LIMITS.max), np.float32(LIMITS.max), (), jnp.int32).contains(jnp.asarray(0))


@pytest.mark.parametrize(
    "space",
    [
        Box(*(np.tile(np.linspace(-1.0, 3.0, 50, dtype=np.float32), (2, 1))), (50,)),
        Box(np.linspace(-1.0, 3.0, 50), np.linspace(-1.0, 3.0, 50) + 1e-6, (50,)),
        Box(np.asarray([2**24 + 1, -3]), np.asarray([2**24 + 9, 4]), (2,), jnp.int32),
        Box(np.asarray([-np.inf, 0.1]), np.asarray([0.3, np.inf]), (2,)),
    ],
    ids=["points", "narrow", "large integers", "half-bounded"],
)
def test_what_a_policy_chooses_lies_in_the_space_to_the_last_bit(space: Box) -> None:
    chosen = jnp.broadcast_to(jnp.linspace(-1.5, 1.5, 101)[:, None], (101, *space.shape))
    actions = jax.jit(lambda chosen: environment_action(space, chosen))(chosen)
    assert actions.dtype == space.dtype
    assert bool(jax.vmap(space.contains)(actions).all())


@pytest.mark.parametrize(
    ("space", "start"),
    [
        (Box(20.0, np.inf, (1,)), 21.0),
        (Box(-np.inf, -20.0, (1,)), -21.0),
        (Box(0.0, np.inf, (1,)), 1.0),
        (Box(1000, np.inf, (1,), jnp.int32), 1001),
        (Box(-np.inf, np.inf, (1,)), 0.0),
    ],
)
def test_a_policy_that_is_not_trained_acts_away_from_the_bound(space: Box, start: float) -> None:
    """Policies start around 0: were that beyond the only bound, every action would be the bound."""
    np.testing.assert_array_equal(environment_action(space, jnp.zeros((1, 1))), [[start]])
    own = policy_space(space)
    assert bool(own.contains(jnp.zeros(1)))
    ends = jnp.stack([own.clip(jnp.full(1, -1e6)), own.clip(jnp.full(1, 1e6))])
    reached = environment_action(space, ends)
    for bound, end in zip((space.low, space.high), reached, strict=True):
        assert not np.isfinite(bound) or end == bound


def test_half_of_the_actions_are_true() -> None:
    chosen = environment_action(Box(0, 1, (1,), bool), jnp.linspace(-1, 1, 8)[:, None])
    assert chosen.dtype == bool
    np.testing.assert_array_equal(chosen[:, 0], [False] * 4 + [True] * 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Discrete(200, jnp.int8),
            r"^Discrete n \(200\) must be at most 128, as its type, int8, holds no more",
        ),
        (lambda: Discrete(3, bool), r"^Discrete n \(3\) must be at most 2"),
        (lambda: MultiDiscrete((300, 2), jnp.uint8), r"^MultiDiscrete nvec \(300\) must be at most 256"),
    ],
)
def test_numbers_that_their_type_does_not_hold_are_refused(make: Callable[[], Space], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
    assert Discrete(128, jnp.int8).n == 128


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (Discrete(3), jnp.asarray(3)),
        (Discrete(3), jnp.asarray(-1)),
        (Discrete(3), jnp.asarray([1])),
        (MultiDiscrete((2, 5)), jnp.asarray([2, 0])),
        (MultiDiscrete((2, 5)), jnp.asarray([1])),
        (Box(-1.0, 2.0, (2,)), jnp.asarray([0.0, 2.1])),
        (Box(-1.0, 2.0, (2,)), jnp.asarray([0.0, jnp.nan])),
        (Box(-1.0, 2.0, (2,)), jnp.asarray(0.0)),
        (SPACES["dict"], {"image": jnp.zeros((2, 2)), "goal": jnp.asarray(4)}),
        (SPACES["dict"], {"image": jnp.zeros((2, 2))}),
    ],
)
def test_a_space_does_not_hold_what_lies_outside(space: Space, value: jax.Array) -> None:
    assert not bool(space.contains(value))


def test_bounded_says_whether_every_bound_is_finite() -> None:
    assert Box(-1.0, 1.0, (2,)).bounded
    assert not SPACES["unbounded box"].bounded
    assert not SPACES["half-bounded box"].bounded


def test_clip_moves_a_batch_to_the_nearest_elements() -> None:
    space = Box(np.asarray([0.0, -4.0]), np.asarray([1.0, 4.0]), (2,))
    clipped = space.clip(jnp.asarray([[-1.0, 5.0], [0.5, -9.0]]))
    np.testing.assert_array_equal(clipped, [[0.0, 4.0], [0.5, -4.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Discrete(0), r"Discrete n \(0\) must be at least 1"),
        (lambda: MultiDiscrete(()), r"MultiDiscrete nvec \(\(\)\) must name at least one size"),
        (lambda: MultiDiscrete((3, 0)), r"MultiDiscrete nvec \(\(3, 0\)\) must name at least one size"),
        (lambda: MultiDiscrete((3, 2.5)), r"MultiDiscrete nvec \(2\.5\) must be a whole number"),  # type: ignore[arg-type]
        (lambda: Discrete(3.5), r"Discrete n \(3\.5\) must be a whole number"),  # type: ignore[arg-type]
        (lambda: Box(30, 20, (1,)), r"Box low \(30\) must be at most high \(20\), everywhere"),
        (lambda: Box(np.zeros(2), np.array([1.0, -1.0]), (2,)), r"Box low .* must be at most high"),
        (lambda: Box(np.nan, 1), r"Box low \(nan\) must be at most high"),
        (lambda: Box([20], [30]), r"Box low \[1\] must be one number or have the shape \[\]"),
        (lambda: Box(0, np.ones(2), (3,)), r"Box high \[2\] must be one number or have the shape \[3\]"),
        (lambda: Box(20, 30, 1), r"Box shape \(1\) must be a tuple of sizes, such as \(3,\)"),  # type: ignore[arg-type]
        (lambda: SPACES["dict"].shape, "has no single shape"),
        (lambda: Dict({0: Discrete(2)}), r"^Dict spaces are named by text: 0 must be '0'$"),
    ],
)
def test_what_is_no_space_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
