"""Tells mistakes of the user, which get one line, from bugs, which keep their traceback."""

from __future__ import annotations

import traceback
from pathlib import Path

import memorax

PACKAGE = Path(memorax.__file__).parent


def one_line(error: BaseException) -> str | None:
    """The line for the user, or `None` where the error is a bug, whose traceback matters.

    A mistake of the user's is a `ValueError` or `ImportError` that a `raise` statement of this package raised; those
    that surface in a library or a builtin are bugs. What the operating system or the network refuses is the user's too.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror} ({error.filename})"
    if isinstance(error, ValueError | ImportError | OSError) and _raised_by_memorax(error):
        return " ".join(str(error).split())
    return None


def _raised_by_memorax(error: BaseException) -> bool:
    """Whether the line of source that the error comes from is a `raise` statement in this package."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not Path(frames[-1].filename).is_relative_to(PACKAGE):
        return False
    return (frames[-1].line or "").startswith("raise ")
