from __future__ import annotations

import datetime
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memorax.training import folder as folders
from memorax.training.config import config_to_json
from memorax.training.folder import create_folder, default_folder, load_config, make_default_folder, owned
from memorax.training.record import read_record
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


def config_of_a_run(folder: Path, changes: Mapping[str, Any]) -> Path:
    """A `config.json` as it is written, some settings of which are others."""
    content = {
        "id": "1234",
        "name": "run",
        "seed": 0,
        "num_seeds": 1,
        "total_steps": 64,
        "group": None,
        "tags": [],
        "parameters": {},
        "interface": {},
        "agent": {},
        "origin": {"versions": {}, "random_keys": None},
        "resumed": [],
        "config": {**config_to_json(CONFIG), **changes},
    }
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("setting", "values", "message"),
    [
        ("imports", [None, "json"], "must be a list of texts, such as ['my_parts']"),
        ("algorithm", [None], "must be text"),
    ],
)
def test_settings_of_a_run_that_are_of_another_kind_are_named(
    tmp_path: Path, setting: str, values: list[Any], message: str
) -> None:
    assert load_config(config_of_a_run(tmp_path, {})) == CONFIG
    assert read_record(tmp_path).id == "1234"
    for value in values:
        folder = config_of_a_run(tmp_path, {setting: value})
        with pytest.raises(ValueError) as raised:
            load_config(folder)
        assert str(raised.value).startswith(f"{folder / 'config.json'}: {setting} ({value!r}) {message}")
        assert "\n" not in str(raised.value)


def test_settings_alone_say_the_seeds_of_a_run_that_is_yet_to_begin(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"config": {"seed": 2, "total_steps": 1e3}}')
    record = read_record(tmp_path)
    assert (record.seed, record.num_seeds, record.total_steps) == (2, 1, 1000)
    (tmp_path / "config.json").write_text('{"config": {"seed": null}}')
    with pytest.raises(ValueError, match=r"config\.json: seed \(None\) must be a whole number"):
        read_record(tmp_path)


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
