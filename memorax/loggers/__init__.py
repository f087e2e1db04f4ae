"""Where the training loop's metrics go. A member is one file, with one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from memorax.loggers.file import FileLogger
from memorax.loggers.logger import Logger, Outcome, Row, RunDescription
from memorax.loggers.mlflow import MLflowLogger
from memorax.loggers.tensorboard import TensorBoardLogger
from memorax.loggers.terminal import TerminalLogger
from memorax.loggers.wandb import WandbLogger

LOGGERS: dict[str, Callable[[Path | None], Logger]] = {
    "file": FileLogger,
    "terminal": TerminalLogger,
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
    "mlflow": MLflowLogger,
}
"""Every logger by name: a function of the run folder, or of None where there is none."""


def make_loggers(names: Sequence[str], folder: Path | None) -> list[Logger]:
    """Make loggers by name.

    Raises:
        ValueError: if a name is unknown, or a logger lacks what it needs.
        ImportError: if a logger's package is missing.
    """
    for name in names:
        if name not in LOGGERS:
            raise ValueError(f"unknown logger {name!r}: choose from {', '.join(LOGGERS)}")
    return [LOGGERS[name](folder) for name in names]


def check_loggers(loggers: Any) -> None:
    """Raise a `ValueError` where these are not loggers, in a list or another sequence, or None."""
    if loggers is None:
        return
    if isinstance(loggers, str | Logger) or not all(isinstance(logger, Logger) for logger in loggers):
        raise ValueError(
            f"loggers ({loggers!r}) must be a list of loggers, such as [FileLogger(folder)]; "
            'make_loggers(["file"], folder) makes them by name'
        )


__all__ = [
    "LOGGERS",
    "FileLogger",
    "Logger",
    "MLflowLogger",
    "Outcome",
    "Row",
    "RunDescription",
    "TensorBoardLogger",
    "TerminalLogger",
    "WandbLogger",
    "check_loggers",
    "make_loggers",
]
