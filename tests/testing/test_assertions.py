"""What the checks of `memorax.testing` refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from memorax.testing import check_close
from memorax.testing.assertions import hold

LARGE = np.array([100.0, 0.001])


def test_the_bound_is_a_fraction_of_the_largest_magnitude_of_a_leaf() -> None:
    check_close({"gradient": LARGE + 0.9e-3}, {"gradient": LARGE})
    with pytest.raises(AssertionError, match=r"arrays are close \['gradient'\]: largest difference 1.10e-03 > 1.0e-03"):
        check_close({"gradient": LARGE + 1.1e-3}, {"gradient": LARGE})
    with pytest.raises(AssertionError, match=r"'small'"):  # a large leaf excuses no other
        check_close({"large": LARGE, "small": np.array(0.1003)}, {"large": LARGE, "small": np.array(0.1)})


def test_small_leaves_are_compared_with_the_floor() -> None:
    check_close(np.array([0.9e-6]), np.zeros(1))
    with pytest.raises(AssertionError):
        check_close(np.array([1.1e-6]), np.zeros(1))
    with pytest.raises(AssertionError):
        check_close(np.array([0.9e-6]), np.zeros(1), floor=0.01)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([np.nan, 1.0], [np.nan, 1.0]),
        ([1.0, np.nan], [1.0, 2.0]),
        ([1.0, 2.0], [np.inf, 2.0]),
        ([np.inf, 2.0], [1.0, 2.0]),
        ([-np.inf, 2.0], [np.inf, 2.0]),
        ([1.0 + 1e-3j, 0.0], [1.0, 0.0]),
        ([1, 2], [1, 3]),
        ([1.0, 2.0, 3.0], [1.0, 2.0]),
        ([1.0], [1.0, 1.0]),
    ],
)
def test_what_is_not_close(actual: Any, expected: Any) -> None:
    with pytest.raises(AssertionError):
        check_close(np.asarray(actual), np.asarray(expected))


@pytest.mark.parametrize("exempt", ["a time limit is not a failure", ("",)])
def test_a_text_alone_exempts_nothing(exempt: Any) -> None:
    with pytest.raises(ValueError, match="must be a sequence of texts"):
        hold(exempt)


def test_equal_infinities_and_trees_built_alike_are_close() -> None:
    tree = {"a": np.array([-np.inf, 1.0]), "b": (np.array([1 + 2j]), np.array([], np.float32), np.array([3]))}
    check_close(tree, tree)
    with pytest.raises(AssertionError, match="trees are built alike"):
        check_close(tree, {**tree, "b": tree["b"][:2]})
