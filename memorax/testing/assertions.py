"""What the checks assert with: each raises an `AssertionError` that names the truth that does not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from memorax.types import Array, PyTree


def check_close(
    actual: PyTree,
    expected: PyTree,
    tolerance: float = 1e-5,
    floor: float = 0.1,
    truth: str = "arrays are close",
) -> None:
    """Check that two trees of arrays differ by rounding alone: each leaf by little of its own largest magnitude.

    An entry of a sum is rounded as coarsely as the terms it was summed from, so that the small entries of an array are
    as inexact as its large ones, and how inexact those are depends on the processor. Entries that are infinite, and
    integers, must be equal; NaN is close to nothing.

    Args:
        actual: the tree to check.
        expected: what it should be; its leaves have the same shapes.
        tolerance: largest difference allowed, as a fraction of the largest magnitude in the expected leaf.
        floor: a leaf whose largest magnitude is smaller is compared as if it reached this: terms of this size may have
            cancelled in it.
        truth: what does not hold otherwise, for the error.

    Raises:
        AssertionError: naming the truth, the leaf and its largest difference.
    """
    actual_leaves, expected_leaves = (jax.tree_util.tree_leaves_with_path(tree) for tree in (actual, expected))
    require(
        [path for path, _ in actual_leaves] == [path for path, _ in expected_leaves], f"{truth}: trees are built alike"
    )
    for (path, x), (_, y) in zip(actual_leaves, expected_leaves, strict=True):
        leaf = f"{truth} {jax.tree_util.keystr(path)}".rstrip()
        x, y = np.asarray(x), np.asarray(y)
        require(x.shape == y.shape, f"{leaf}: shapes are {x.shape} and {y.shape}")
        if y.dtype == jax.dtypes.float0 or not y.size:
            continue
        if not is_float(y):
            require(np.array_equal(x, y), f"{leaf}: integers are equal")
            continue
        error, magnitude = largest_difference(x, y)
        bound = tolerance * max(magnitude, floor)
        require(error <= bound, f"{leaf}: largest difference {error:.2e} > {bound:.1e}")


def largest_difference(actual: Array | np.ndarray, expected: Array | np.ndarray) -> tuple[float, float]:
    """How far two arrays of real or complex numbers differ at most, and the largest finite magnitude of the second.

    What is equal does not differ, be it infinite; what is NaN in either is NaN.
    """
    x, y = (np.asarray(z) for z in (actual, expected))
    x, y = (z.astype(np.complex128 if np.iscomplexobj(z) else np.float64) for z in (x, y))
    with np.errstate(invalid="ignore"):
        difference = np.where(x == y, 0.0, np.abs(x - y))
    magnitude = np.max(np.abs(y), where=np.isfinite(y), initial=0.0)
    return float(np.max(difference, initial=0.0)), float(magnitude)


def require(holds: bool, truth: str) -> None:
    """Raise an `AssertionError` that names a truth, unless it holds."""
    if not holds:
        raise AssertionError(f"does not hold: {truth}")


def is_float(x: Array | np.ndarray) -> bool:
    """Whether an array holds real or complex numbers, so that it may hold NaN."""
    return jnp.issubdtype(x.dtype, jnp.inexact)


def data(x: Array) -> Array:
    """The numbers of an array, be it one of random keys."""
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def all_finite(truth: str, tree: PyTree) -> None:
    """Check that no number is NaN or infinite."""
    require(all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(tree) if is_float(x)), truth)


def shapes(tree: PyTree) -> PyTree:
    """Each leaf's type and shape, as text."""
    return jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)


def hold(exempt: Sequence[str], *checks: Callable[[], None]) -> None:
    """Call checks one after the other, and pass over what does not hold of truths that begin with exempt words.

    Raises:
        ValueError: if `exempt` is a text, of which every letter would be exempt, or holds an empty one.
    """
    if isinstance(exempt, str) or not all(exempt):
        raise ValueError(f"exempt ({exempt!r}) must be a sequence of texts, such as ('a time limit is',)")
    for check in checks:
        try:
            check()
        except AssertionError as error:
            if not str(error).removeprefix("does not hold: ").startswith(tuple(exempt)):
                raise


def same_shapes(truth: str, a: PyTree, b: PyTree) -> None:
    """Check that two trees are built alike, of leaves of the same shapes and types."""
    # Compared leaf by leaf: the states of some environments compare themselves in a way of their own.
    leaves = [jax.tree_util.tree_leaves_with_path(shapes(tree)) for tree in (a, b)]
    same = leaves[0] == leaves[1]
    require(same, f"{truth}: {shapes(a)} and {shapes(b)}")


def close(truth: str, a: PyTree, b: PyTree, tolerance: float) -> None:
    """`check_close` for trees of the same shapes and types."""
    same_shapes(truth, a, b)
    check_close(a, b, tolerance, truth=truth)


def equal(truth: str, a: PyTree, b: PyTree) -> None:
    """Check that two trees of as many leaves are equal bit for bit, NaN where the other is NaN."""
    require(same(a, b), truth)


def same(a: PyTree, b: PyTree) -> bool:
    """Whether two trees of as many leaves are equal bit for bit, NaN where the other is NaN."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(data(x)), np.asarray(data(y)), equal_nan=is_float(y)) for x, y in pairs)
