"""Which errors are the user's to mend, and get one line instead of a traceback."""

from __future__ import annotations

import dis
import traceback
from pathlib import Path

import memorax

PACKAGE = Path(memorax.__file__).parent
RAISE = dis.opmap["RAISE_VARARGS"]


def one_line(error: BaseException) -> str | None:
    """What to tell the user, or `None` where the error is a bug, whose traceback matters.

    A user's mistake is a `ValueError` or `ImportError` that this package raises by a statement of its own; those that
    surface in a library or a builtin are bugs. What the operating system refuses, or the network, is the user's too.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror} ({error.filename})"
    if isinstance(error, ValueError | ImportError | OSError) and _raised_here(error):
        return " ".join(str(error).split())
    return None


def _raised_here(error: BaseException) -> bool:
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return False
    code = frames[-1][0].f_code
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    raising = innermost is not None and code.co_code[innermost.tb_lasti] == RAISE
    return raising and Path(code.co_filename).is_relative_to(PACKAGE)
