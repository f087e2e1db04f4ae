from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from memorax.training.interruption import Interrupted, Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends_the_process(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    monkeypatch.setattr(os, "kill", lambda process, number: ended.append((process, number, signal.getsignal(number))))
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.signal is None
        signal.raise_signal(number)
        assert interruption.signal == number
        assert ended == []
        signal.raise_signal(number)
        assert ended == [(os.getpid(), number, signal.SIG_DFL)]
    assert signal.getsignal(number) == before


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
