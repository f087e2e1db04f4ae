"""How the command that started a process is written down."""

from __future__ import annotations

import sys

import pytest

from memorax.command import command_line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/somewhere/memorax/__main__.py", "train", "--seed", "3"], "memorax train --seed 3"),
        (["/somewhere/bin/memorax", "report", "a run"], "memorax report 'a run'"),
        (["examples/mine.py", "--x"], "examples/mine.py --x"),
    ],
)
def test_it_can_be_typed_again(words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == expected
