"""Signals that ask a run to stop: Ctrl-C, SIGTERM, and those by which a cluster warns before it ends a job."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
WARNING_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)
SAME_SIGNAL_SECONDS = 2.0
"""A signal that comes again within this time is the same one: launchers deliver it to a process twice."""


class Interrupted(KeyboardInterrupt):
    """Raised by the training loop after a signal, once everything is saved.

    Attributes:
        signal: the signal's number.
        folder: the run folder, if there is one.
        step: environment steps taken in each seed.

    The message names the command that goes on with the run, by default `memorax resume`.
    """

    def __init__(self, signal_number: int, folder: Path | None, step: int, command: str | None = None) -> None:
        command = f"memorax resume {folder}" if command is None else command
        remedy = "nothing is saved without a folder" if folder is None else f"go on with `{command}`"
        super().__init__(f"stopped after {step} steps: {remedy}")
        self.signal = signal_number
        self.folder = folder
        self.step = step


class Interruption:
    """While entered, notes the first signal that asks the process to stop.

    Ctrl-C or SIGTERM that comes more than two seconds after the first of either ends the process as it usually would.
    Warning signals (USR1, USR2, HUP, XCPU) never do; they are noted where nobody else handles or ignores them. Outside
    the main thread, where Python allows no handlers, nothing is noted.

    Attributes:
        signal: the number of the first signal that came, if one did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._stop_came: float | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            free = [number for number in WARNING_SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
            self._previous = {number: signal.signal(number, self._handle) for number in (*STOP_SIGNALS, *free)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number in STOP_SIGNALS:
            if self._stop_came is None:
                self._stop_came = now
            if now - self._stop_came > SAME_SIGNAL_SECONDS:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
        if self.signal is None:
            self.signal = number
