"""Real signals to a real process."""

from __future__ import annotations

import dataclasses
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drill import start, wait_for_saves
from memorax.training import build_agent
from memorax.training.config import config_to_json
from memorax.training.folder import create_folder, write_config
from tests.training.small import CONFIG as SMALL
from tests.training.small import STEPS, assert_same, metrics_without_time
from tests.training.small import run as run_small

CONFIG = dataclasses.replace(SMALL, total_steps=40 * STEPS)
COMPILED = str(Path(__file__).parents[2] / ".jax_cache")
IN_A_SAVE = 0
"""In place of a number of lines: the signal is sent in the middle of the fifth save."""


def wait_for_lines(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until so many lines of metrics are written."""
    path = folder / "metrics.csv"
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < count):
        time.sleep(0.005)


@pytest.mark.parametrize(
    "signals",
    [
        ((signal.SIGKILL, IN_A_SAVE), (signal.SIGTERM, 40)),
        pytest.param(((signal.SIGKILL, 2), (signal.SIGKILL, 25), (signal.SIGTERM, 50)), marks=pytest.mark.slow),
    ],
    ids=["killed_once", "killed_twice"],
)
def test_a_killed_run_equals_an_uninterrupted_one(
    tmp_path: Path, signals: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each signal is sent some time after so many lines of metrics."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", COMPILED)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    agent = build_agent(CONFIG)
    whole = run_small(agent, dataclasses.replace(CONFIG, checkpoint_seconds=1000.0), tmp_path / "whole")
    folder = tmp_path / "killed"
    create_folder(folder)
    write_config(folder, config_to_json(CONFIG))
    moments = random.Random(0)
    for number, expected_lines in signals:
        process = start(folder)
        if expected_lines == IN_A_SAVE:
            wait_for_saves(process, folder, 5)
        else:
            wait_for_lines(process, folder, expected_lines)
            time.sleep(moments.uniform(0, 0.3))
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), errors
    assert errors.strip().endswith(f"go on with `memorax resume {folder}`")

    assert_same(run_small(agent, CONFIG, folder, resume=True), whole)
    metrics, whole_metrics = metrics_without_time(folder), metrics_without_time(tmp_path / "whole")
    for name, column in whole_metrics.items():
        np.testing.assert_array_equal(metrics[name], column, err_msg=name)
