"""Spaces: what they hold, what they draw, what they refuse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space

SPACES = {
    "discrete": Discrete(3),
    "multi discrete": MultiDiscrete((2, 5)),
    "box": Box(-1.0, 2.0, (2, 3)),
    "box with a bound for each element": Box(np.asarray([0.0, -4.0]), np.asarray([1.0, 4.0]), (2,)),
    "unbounded box": Box(-np.inf, np.inf, (2,)),
    "half-bounded box": Box(np.asarray([-np.inf, 3.0]), np.asarray([-2.0, np.inf]), (2,)),
    "integer box": Box(0, 255, (4, 4, 1), jnp.uint8),
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
        (lambda: SPACES["dict"].shape, "has no single shape"),
    ],
)
def test_what_is_no_space_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
