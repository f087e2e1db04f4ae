"""Spaces of gymnasium as ours, and their elements there and back."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from gymnasium import spaces

from memorax.environments import make
from memorax.environments.gymnasium_spaces import convert, to_gymnasium, to_ours
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete

SPACES: dict[str, Any] = {
    "discrete": spaces.Discrete(5),
    "discrete that starts below zero": spaces.Discrete(5, start=-2),
    "several": spaces.MultiDiscrete([2, 3]),
    "a table that starts at one": spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 1], [1, 1]]),
    "bits": spaces.MultiBinary(3),
    "a table of bits": spaces.MultiBinary((2, 2)),
    "bytes": spaces.Box(0, 255, (2, 2, 3), np.uint8),
    "float64": spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "large counts": spaces.Box(-(2**40), 2**40, (2,), np.int64),
    "large counts without a sign": spaces.Box(0, 2**50, (2,), np.uint64),
    "any integer of 64 bits": spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (2,), np.int64),
    "any integer of 32 bits": spaces.Box(np.iinfo(np.int32).min, np.iinfo(np.int32).max, (2,), np.int32),
    "nested": spaces.Dict(
        {"a": spaces.Discrete(3, start=1), "b": spaces.Tuple([spaces.MultiBinary(2), spaces.Box(0, 1)])}
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_elements_lie_in_our_space_and_come_back(name: str) -> None:
    space = SPACES[name]
    space.seed(0)
    ours = convert(space, name)
    for _ in range(5):
        element = space.sample()
        converted = to_ours(space, element)
        assert bool(ours.contains(converted))
        sample = jax.tree.map(lambda x: (x.shape, x.dtype), ours.sample(jax.random.key(0)))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), converted) == sample
        back = to_gymnasium(space, converted)
        assert space.contains(back)
        again = to_ours(space, back)
        jax.tree.map(np.testing.assert_array_equal, again, converted)


@pytest.mark.parametrize("name", SPACES)
def test_a_batch_is_converted_at_once(name: str) -> None:
    space = SPACES[name]
    space.seed(0)
    ours = [to_ours(space, space.sample()) for _ in range(3)]
    together = jax.tree.map(lambda *x: np.stack(x), *ours)
    back = to_gymnasium(space, together)
    jax.tree.map(np.testing.assert_array_equal, to_ours(space, back), together)


def test_kinds_and_bounds() -> None:
    assert convert(SPACES["discrete that starts below zero"], "") == Discrete(5)
    assert convert(SPACES["a table that starts at one"], "") == MultiDiscrete((2, 3, 4, 5))
    assert convert(SPACES["a table of bits"], "") == MultiDiscrete((2, 2, 2, 2))
    nested = convert(SPACES["nested"], "")
    assert isinstance(nested, Dict) and isinstance(nested.spaces["b"], Dict)
    assert list(nested.spaces["b"].spaces) == ["0", "1"]
    wide = convert(SPACES["any integer of 64 bits"], "")
    assert isinstance(wide, Box) and wide.dtype == np.float32 and not wide.bounded
    few = convert(spaces.Box(0, 10, (1,), np.int64), "")
    assert isinstance(few, Box) and few.dtype == np.int32
    counts = convert(SPACES["large counts"], "")
    assert isinstance(counts, Box) and (counts.low[0], counts.high[0]) == (-(2.0**40), 2.0**40)
    largest = float(np.finfo(np.float32).max)
    for bound, dtype in ((1e300, np.float64), (largest, np.float32), (largest, np.float64)):
        large = convert(spaces.Box(-bound, bound, (1,), dtype), "")
        assert isinstance(large, Box) and (large.low[0], large.high[0]) == (-np.inf, np.inf)


def test_integers_that_are_too_large_for_32_bits_keep_their_size() -> None:
    """In JAX's integers they would wrap around: 2 ** 40 would be 0."""
    space = SPACES["large counts"]
    np.testing.assert_array_equal(to_ours(space, np.array([2**40, -3])), [2.0**40, -3.0])
    np.testing.assert_array_equal(to_gymnasium(space, np.array([2.0**41, -2.6], np.float32)), [2**40, -3])
    widest = SPACES["any integer of 64 bits"]
    limits = np.iinfo(np.int64)
    largest, smallest = to_gymnasium(widest, np.array([np.inf, -np.inf], np.float32))
    assert largest > limits.max - 2**12 and smallest == limits.min


def test_actions_lie_between_bounds_of_64_bits() -> None:
    space = spaces.Box(np.array([-0.1, 0.3]), np.array([0.1, 0.3]), dtype=np.float64)
    assert space.contains(to_gymnasium(space, np.array([0.1, 0.3], np.float32)))
    assert space.contains(to_gymnasium(space, np.array([-0.1, 0.3], np.float32)))


def test_a_space_that_is_not_supported_is_one_line() -> None:
    message = r"^gymnasium::Chat has a space that is not supported: Text \(valid: Discrete, MultiDiscrete, "
    with pytest.raises(ValueError, match=message):
        convert(spaces.Dict({"said": spaces.Text(10)}), "gymnasium::Chat")


def test_an_option_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(
        ValueError, match=r"option 'max_steps'.* \(valid: log_info, max_episode_steps, num_workers, render"
    ):
        make("gymnasium::CartPole-v1", max_steps=3)
