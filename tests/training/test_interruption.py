from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from memorax.training.interruption import STOP_SIGNALS, WARNING_SIGNALS, Interrupted, Interruption


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, object]]:
    """The calls that end the process, none of which does."""
    calls: list[tuple[int, int, object]] = []
    monkeypatch.setattr(os, "kill", lambda process, number: calls.append((process, number, signal.getsignal(number))))
    return calls


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the time is, in its only element."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_is_noted_and_a_later_one_ends_the_process(
    number: signal.Signals, ended: list[tuple[int, int, object]], clock: list[float]
) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.signal is None
        signal.raise_signal(number)
        assert interruption.signal == number
        for clock[0] in (0.005, 1.9):
            signal.raise_signal(number)
            assert ended == [], "a signal that is delivered twice is one"
        clock[0] = 2.1
        signal.raise_signal(number)
        assert ended == [(os.getpid(), number, signal.SIG_DFL)]
    assert signal.getsignal(number) == before


def test_ctrl_c_ends_the_process_that_was_asked_to_stop_by_another_signal(
    ended: list[tuple[int, int, object]], clock: list[float]
) -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        clock[0] = 1.9
        signal.raise_signal(signal.SIGINT)
        assert ended == []
        clock[0] = 2.1
        signal.raise_signal(signal.SIGINT)
        assert (interruption.signal, [number for _, number, _ in ended]) == (signal.SIGTERM, [signal.SIGINT])


@pytest.mark.parametrize("number", WARNING_SIGNALS)
def test_warning_signals_are_noted_and_never_end_the_process(
    number: signal.Signals, ended: list[tuple[int, int, object]], clock: list[float]
) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # under nohup it is ignored
    try:
        with Interruption() as interruption:
            for clock[0] in (0.0, 100.0):
                signal.raise_signal(number)
            signal.raise_signal(signal.SIGTERM)
            assert (interruption.signal, ended) == (number, [])
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_warning_signals_that_somebody_handles_or_ignores_are_left_alone() -> None:
    came = []
    signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGHUP)
            assert interruption.signal is None
        assert came == [signal.SIGUSR1]
    finally:
        for number in (signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)


def test_outside_the_main_thread_it_does_nothing() -> None:
    signals = []

    def enter() -> None:
        with Interruption() as interruption:
            signals.append(interruption.signal)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert signals == [None]


def test_says_how_to_go_on() -> None:
    assert str(Interrupted(2, Path("runs/x"), 10)) == "stopped after 10 steps: go on with `memorax resume runs/x`"
    assert str(Interrupted(2, None, 10)) == "stopped after 10 steps: nothing is saved without a folder"
