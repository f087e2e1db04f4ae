"""Functions on the host that compiled code calls, and errors that pass through to the caller."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import io_callback

from memorax.types import PyTree

_raised: deque[BaseException] = deque(maxlen=8)
"""What was raised on the host since `own_errors` was entered."""


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise the error of an environment itself, in place of the error that JAX makes of it.

    Inside, programs must be waited for.
    """
    _raised.clear()
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if not _raised:
            raise
        raise _raised.popleft() from None


def by_callback(name: str, function: Callable[..., Any], shapes: PyTree) -> Callable[..., PyTree]:
    """A function of NumPy arrays as one of JAX arrays that compiled code may call, but `vmap` may not map.

    Args:
        name: name of the environment, for messages.
        function: function to call on the host.
        shapes: shapes and dtypes of its results.
    """

    def on_host(*arguments: Any) -> Any:
        try:
            results = function(*jax.tree.map(np.asarray, arguments))
            _check(name, results, shapes)
        except BaseException as error:
            _raised.append(error)
            raise
        return results

    # Not ordered: each step needs what the one before it returned.
    @jax.custom_batching.custom_vmap
    def call(*arguments: Any) -> Any:
        return io_callback(on_host, shapes, *arguments)

    @call.def_vmap
    def mapped(axis_size: int, in_batched: Any, *arguments: Any) -> tuple[Any, Any]:
        if axis_size > 1:
            raise ValueError(f"{name} runs on the host, where `vmap` cannot map it over {axis_size} seeds or states")
        only = jax.tree.map(lambda x, batched: x[0] if batched else x, arguments, tuple(in_batched))
        results = jax.tree.map(lambda x: x[None], call(*only))
        return results, jax.tree.map(lambda _: True, results)

    return call


def _check(name: str, results: PyTree, shapes: PyTree) -> None:
    found, expected = (jax.tree.map(lambda x: f"{x.dtype} {x.shape}", tree) for tree in (results, shapes))
    if found == expected:
        return
    differing = set(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=False))
    for returned, declared in sorted(pair for pair in differing if pair[0] != pair[1]):
        raise ValueError(f"{name} returned {returned} where its spaces say {declared}, the batch first")
    raise ValueError(f"{name} returned arrays {found} where its spaces say {expected}")


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Whether a log record of JAX is about anything but what `own_errors` raises."""
    return not (record.exc_info and record.exc_info[1] in _raised)


logging.getLogger("jax._src.callback").addFilter(_is_not_ours)
