"""Tells mistakes of the user, which get one line, from bugs, which keep their traceback."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import memorax

PACKAGE = Path(memorax.__file__).parent


def one_line(error: BaseException) -> str | None:
    """The line for the user, or `None` where the error is a bug, whose traceback matters.

    A mistake of the user's is a `ValueError` or `ImportError` that a `raise` statement of this package raised; those
    that surface in a library or a builtin are bugs. What the operating system or the network refuses is the user's too,
    and so is a device that JAX does not have.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror} ({error.filename})"
    if isinstance(error, ValueError | ImportError | OSError) and _raised_by_memorax(error):
        return " ".join(str(error).split())
    if isinstance(error, RuntimeError) and str(error).startswith("Unable to initialize backend"):
        return _no_device(str(error).split(" (set JAX_PLATFORMS")[0])
    if isinstance(error, AssertionError) and "xla_bridge.py" in [Path(x.filename).name for x in _frames(error)[-1:]]:
        return _no_device("there is no such backend here")  # JAX says nothing where its package for CUDA is missing
    return None


def _no_device(reason: str) -> str:
    chosen = os.environ.get("JAX_PLATFORMS", "")
    return (
        f"JAX finds no device (JAX_PLATFORMS={chosen}): {' '.join(reason.split()).rstrip('.')}. Unset JAX_PLATFORMS to "
        'use the processor, or install JAX for the device, as in: pip install "jax[cuda12]"'
    )


def _frames(error: BaseException) -> traceback.StackSummary:
    return traceback.extract_tb(error.__traceback__)


def _raised_by_memorax(error: BaseException) -> bool:
    """Whether the line of source that the error comes from is a `raise` statement in this package."""
    frames = _frames(error)
    if not frames or not Path(frames[-1].filename).is_relative_to(PACKAGE):
        return False
    return (frames[-1].line or "").startswith("raise ")
