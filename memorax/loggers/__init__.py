"""Where the training loop's metrics go. A member is one file, with one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from memorax.loggers.file import FileLogger
from memorax.loggers.logger import Logger, Outcome, Row, RunDescription
from memorax.loggers.terminal import TerminalLogger

LOGGERS: dict[str, Callable[[Path | None], Logger]] = {
    "file": FileLogger,
    "terminal": TerminalLogger,
}


def make_loggers(names: Sequence[str], folder: Path | None) -> list[Logger]:
    """Make loggers by name.

    Raises:
        ValueError: if a name is unknown.
    """
    for name in names:
        if name not in LOGGERS:
            raise ValueError(f"unknown logger {name!r}: choose from {', '.join(LOGGERS)}")
    return [LOGGERS[name](folder) for name in names]


__all__ = ["LOGGERS", "FileLogger", "Logger", "Outcome", "Row", "RunDescription", "TerminalLogger", "make_loggers"]
