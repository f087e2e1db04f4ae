"""The command that started this process."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command_line() -> str:
    """The command that started this process, as one types it."""
    program = Path(sys.argv[0])
    own = program.parts[-2:] == ("memorax", "__main__.py") or program.name == "memorax"
    return shlex.join(["memorax", *sys.argv[1:]] if own else sys.argv)
