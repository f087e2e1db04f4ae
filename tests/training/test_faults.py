"""The short form of `make drill`: damaged checkpoints and a full disk, and runs that go on bit for bit."""

from __future__ import annotations

import dataclasses
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.drill import checkpoint_files, damage, differences
from memorax.algorithms.algorithm import Agent
from memorax.training import TrainingResult
from memorax.training.checkpoints import Checkpoints, find_damage
from tests.training.small import CONFIG, STEPS, assert_same, run, small_agent


@pytest.fixture(scope="module")
def agent() -> Agent:
    return small_agent()


@pytest.fixture(scope="module")
def whole(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run(agent, CONFIG, folder)


@pytest.fixture(scope="module")
def half(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended in its middle, at its best evaluation so far."""
    folder = tmp_path_factory.mktemp("runs") / "half"
    run(agent, dataclasses.replace(CONFIG, total_steps=4 * STEPS), folder)
    return folder


def test_any_damage_to_any_file_of_a_checkpoint_is_found(half: Path, tmp_path: Path) -> None:
    moments = random.Random(0)
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    files = checkpoint_files(folder)
    facts = folder / "checkpoints" / str(4 * STEPS) / "facts.json"
    assert facts in files
    for file in files:
        content = file.read_bytes()
        for kind in ("cut", "flipped", "removed"):
            damage(file, kind, moments)
            # Without its facts there is no checkpoint.
            assert not facts.exists() or find_damage(facts.parent) is not None, (file, kind)
            file.write_bytes(content)
    assert find_damage(facts.parent) is None


@pytest.mark.parametrize(
    ("kind", "name"), [("cut", "manifest.ocdbt"), ("flipped", "facts.json"), ("removed", "facts.json")]
)
def test_a_run_goes_on_from_the_last_good_checkpoint(
    agent: Agent, half: Path, tmp_path: Path, whole: tuple[Path, TrainingResult], kind: str, name: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    damage(next(path for path in checkpoint_files(folder) if path.name == name), kind, random.Random(1))
    assert_same(run(agent, CONFIG, folder, resume=True), whole[1])
    assert differences(folder, whole[0]) == []


@pytest.mark.parametrize("save", [1, 3])
def test_a_disk_that_fills_up_stops_the_run_which_goes_on_when_there_is_space(
    agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult], monkeypatch: pytest.MonkeyPatch, save: int
) -> None:
    folder, calls, disk_usage = tmp_path / "run", [], shutil.disk_usage

    def usage(path: Any) -> Any:
        calls.append(path)
        return disk_usage(path)._replace(free=100 if len(calls) == save else 10**9)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OSError, match="no space left on the disk for a checkpoint: free some and resume"):
        run(agent, CONFIG, folder)
    assert Checkpoints(folder / "checkpoints").steps == [STEPS * i for i in range(1, save)]
    assert_same(run(agent, CONFIG, folder, resume=True), whole[1])
    assert differences(folder, whole[0]) == []
