"""What adapters of other packages share."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.adaptation import (
    as_written,
    convert_space,
    like,
    positive,
    raw_key,
    space_of_shapes,
    standing_in,
    strong,
)
from memorax.environments.spaces import Box, Dict


def test_other_code_runs_under_its_own_settings() -> None:
    with as_written():
        total = jnp.ones((2, 3)) + jnp.ones((3,))
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert total.shape == (2, 3)
    with pytest.raises(ValueError, match="rank"):
        jnp.ones((2, 3)) + jnp.ones((3,))
    with pytest.raises(DeprecationWarning):
        warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_modules_stand_in_for_a_while() -> None:
    stand_in = types.ModuleType("json")
    there = sys.modules["json"]
    with standing_in({"json": stand_in, "no_such_module": stand_in}):
        import json

        import no_such_module  # type: ignore[import-not-found]

        assert json is stand_in and no_such_module is stand_in
    assert sys.modules["json"] is there and "no_such_module" not in sys.modules


def test_an_old_style_key_draws_the_same() -> None:
    key = jax.random.key(3)
    assert raw_key(key).dtype == jnp.uint32
    np.testing.assert_array_equal(raw_key(raw_key(key)), raw_key(key))
    assert float(jax.random.uniform(raw_key(key))) == float(jax.random.uniform(key))


def test_a_state_keeps_its_types() -> None:
    first = strong({"time": 0, "height": 1.5, "place": jnp.zeros(2, jnp.int8)})
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(first))
    after = like(first, {"time": 1.0, "height": 2, "place": jnp.ones(2, jnp.int32)})
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == [leaf.dtype for leaf in jax.tree.leaves(first)]


@pytest.mark.parametrize(("written", "shape"), [((), ()), (3, (3,)), (np.int64(3), (3,)), ((2, 3), (2, 3))])
def test_a_shape_may_be_written_as_a_number(written: Any, shape: tuple[int, ...]) -> None:
    class Box:
        low, high, dtype = 0.0, 1.0, np.float32

    box = Box()
    box.shape = written  # type: ignore[attr-defined]
    space = convert_space(box, "suite::Id")
    assert space.shape == shape
    assert bool(space.contains(jnp.zeros(shape)))


def test_bounds_are_cut_to_what_their_type_holds() -> None:
    class Box:
        low, high, shape, dtype = -1, 10**9, (2,), np.uint8

    space = convert_space({"inventory": Box()}, "suite::Id")
    assert space.spaces["inventory"].low == 0 and space.spaces["inventory"].high == 255


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers_without_bounds_reach_as_far_as_their_type(dtype: Any) -> None:
    """As a float64, the largest int64 is one more than it."""

    class Box:
        low, high, shape = -np.inf, np.inf, ()

    box = Box()
    box.dtype = dtype  # type: ignore[attr-defined]
    with jax.enable_x64(True):
        space = convert_space(box, "suite::Id")
    limits = np.iinfo(dtype)
    assert (space.dtype, int(space.low), int(space.high)) == (dtype, limits.min, limits.max)


def test_a_space_of_known_shapes_is_unbounded() -> None:
    observation = {
        "state": jax.ShapeDtypeStruct((3,), jnp.float32),
        "pixels": jax.ShapeDtypeStruct((2, 2), jnp.float32),
    }
    space = space_of_shapes(observation)
    assert isinstance(space, Dict)
    assert {name: inner.shape for name, inner in space.spaces.items()} == {"state": (3,), "pixels": (2, 2)}
    assert isinstance(space.spaces["state"], Box) and not space.spaces["state"].bounded


@pytest.mark.parametrize("value", [0, -1, 2.5, "ten", True, None])
def test_a_number_of_steps_is_checked(value: object) -> None:
    with pytest.raises(ValueError, match=r"^limit \(.*\) of suite::Id must be a number of steps, at least 1$"):
        positive("suite::Id", "limit", value)
    assert positive("suite::Id", "limit", np.int32(5)) == 5
