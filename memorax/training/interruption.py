"""Ctrl-C and SIGTERM: the first asks the training loop to stop, the second ends the process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Raised by the training loop after a signal, once everything is saved.

    Attributes:
        signal: the signal's number.
        folder: the run folder, if there is one.
        step: environment steps taken in each seed.
    """

    def __init__(self, signal_number: int, folder: Path | None, step: int) -> None:
        remedy = "nothing is saved without a folder" if folder is None else f"go on with `memorax resume {folder}`"
        super().__init__(f"stopped after {step} steps: {remedy}")
        self.signal = signal_number
        self.folder = folder
        self.step = step


class Interruption:
    """While entered, notes the first signal; a second one ends the process as it usually would.

    Outside the main thread, where Python allows no handlers, it does nothing.

    Attributes:
        signal: the number of the signal that came, if one did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = number
