"""The command line: `memorax COMMAND ...`. A command is one file, with one line here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "train": "train an agent in a new run folder",
    "resume": "continue a run that was stopped, from its last checkpoint",
    "evaluate": "measure the returns of a run's agents in fresh environments",
    "plot": "draw the learning curves of runs",
    "report": "write a report of runs: statistics with intervals, pictures, and how each run was made",
    "probe": "look into the memory of trained agents: a page that compares runs",
    "render": "draw an agent of a run while it acts",
    "export": "write the policy of a run to a folder that acts without the code that trained it",
    "push": "share the policy of a run on the Hugging Face Hub",
    "benchmark": "train a grid of settings, side by side; the same command goes on with it",
    "audit": "find out whether tasks need memory: agents with and without one, compared",
    "sweep": "search for the hyperparameters with the best return",
    "list": "show environments, algorithms, torsos, loggers and presets",
    "demo": "train with and without memory, and draw both curves",
}
"""What each command does. It is a module of this package with `main(arguments) -> exit code`, imported when called."""

EXAMPLES = (
    "memorax demo                         # a few minutes: the difference that a memory makes",
    "memorax list environments popgym     # what there is to train on",
    "memorax train --environment popgym::RepeatPreviousEasy --torso gru --num-seeds 4 --folder runs/mine",
    "memorax evaluate runs/mine --step best",
    "memorax plot runs/mine",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after `memorax`; by default those of the process.

    Returns:
        The exit code: 0, 2 for a mistake of the user's, 128 + the number of the signal that stopped a run.
    """
    from memorax.cli.compilation_cache import use_compilation_cache
    from memorax.cli.errors import one_line

    # Not `list(...)`: once the command of that name is imported, it is this module's `list`.
    arguments = [*(sys.argv[1:] if arguments is None else arguments)]
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from memorax.version import __version__

        print(__version__)
        return 0
    command, *rest = arguments
    # With JAX's own frames in it, a traceback shows who raised: memorax, or a library it uses.
    os.environ.setdefault("JAX_TRACEBACK_FILTERING", "off")
    try:
        if command not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(command, COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(COMMANDS)}"
            raise ValueError(f"unknown command {command!r}: {hint}")
        use_compilation_cache()
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
            "Reinforcement learning with memory, in JAX: trains agents that must remember what they saw. A run is a",
            "folder with its settings, metrics and checkpoints.",
            "",
            "commands:",
            *lines,
            "",
            "first steps:",
            *(f"  {example}" for example in EXAMPLES),
            "",
            "`memorax COMMAND --help` explains the options of a command. `memorax --version` prints the version.",
        ]
    )
