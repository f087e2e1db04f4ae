"""The command line: `memorax COMMAND ...`. A command is one file, with one line here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "train": "train an agent",
    "resume": "go on with a run",
    "evaluate": "see how the agents of a run do",
    "plot": "draw the learning curves of runs",
    "render": "draw an agent of a run while it acts",
    "list": "show environments, algorithms and torsos",
    "demo": "train with and without memory, and draw both",
}
"""Each is a module of this package with `main(arguments) -> exit code`, imported when it is asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after `memorax`; by default those of the process.

    Returns:
        The exit code: 0, 2 for a mistake of the user's, 128 + the number of the signal that stopped a run.
    """
    from memorax.cli.errors import one_line

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from memorax.version import __version__

        print(__version__)
        return 0
    command, *rest = arguments
    # With JAX's own frames in it, a traceback tells who raised: memorax, or a library it uses.
    os.environ.setdefault("JAX_TRACEBACK_FILTERING", "off")
    try:
        if command not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(command, COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(COMMANDS)}"
            raise ValueError(f"unknown command {command!r}: {hint}")
        return import_module(f"memorax.cli.{command}").main(rest)
    except KeyboardInterrupt as interrupt:
        if str(interrupt):
            print(interrupt, file=sys.stderr)
        return 128 + getattr(interrupt, "signal", 2)
    except BrokenPipeError:
        # The reader of a pipe (`memorax list | head`) has gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        message = one_line(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2


def usage() -> str:
    """What `memorax --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {description}" for name, description in COMMANDS.items()]
    return "\n".join(
        [
            "usage: memorax COMMAND ...",
            "",
            "Reinforcement learning with memory, in JAX.",
            "",
            *lines,
            "",
            "`memorax COMMAND --help` tells what a command takes.",
        ]
    )
