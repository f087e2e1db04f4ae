from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from memorax.training import folder as folders
from memorax.training.folder import create_folder, default_folder, make_default_folder, owned
from tests.training.small import CONFIG


@pytest.fixture
def one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
            return cls(2030, 1, 2, 3, 4, 5)

    monkeypatch.setattr(folders.datetime, "datetime", Clock)


@pytest.mark.usefixtures("one_second")
def test_runs_that_start_in_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    name = "popgym-RepeatPreviousEasy-ppo-gru-20300102-030405"
    assert default_folder(CONFIG, tmp_path) == tmp_path / name
    made = [make_default_folder(CONFIG, tmp_path).name for _ in range(3)]
    assert made == [name, f"{name}-2", f"{name}-3"]


def test_of_many_that_create_a_folder_one_succeeds(tmp_path: Path) -> None:
    for index in range(50):
        barrier, refused = threading.Barrier(4), []

        def create(folder: Path, barrier: threading.Barrier, refused: list[str]) -> None:
            barrier.wait()
            try:
                create_folder(folder)
            except ValueError as error:
                refused.append(str(error))

        arguments = (tmp_path / str(index), barrier, refused)
        threads = [threading.Thread(target=create, args=arguments) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 3
        assert all("holds another run: go on with it by `memorax resume" in message for message in refused)


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from memorax.training.folder import owned; lock = owned(pathlib.Path(sys.argv[1])); "
        "lock.__enter__(); print('mine', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(ValueError, match=f"in use by process {process.pid} on"), owned(tmp_path):
        pass
    process.kill()
    process.communicate()
    with owned(tmp_path):
        pass
