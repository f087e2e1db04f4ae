"""Real signals to a real process."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from memorax.training import load_run, run_config
from memorax.training.checkpoints import to_arrays
from memorax.training.config import config_to_json
from memorax.training.folder import create_folder, write_config
from tests.training.small import CONFIG, STEPS, metrics_without_time

CHUNKS = 60
RUN = dataclasses.replace(CONFIG, total_steps=CHUNKS * STEPS, num_seeds=1)
COMPILED = str(Path(__file__).parents[2] / ".jax_cache")


def start(folder: Path) -> subprocess.Popen[str]:
    """`memorax resume` in a process of its own; a folder without a checkpoint starts from its beginning."""
    cache = {"JAX_COMPILATION_CACHE_DIR": COMPILED, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
    return subprocess.Popen(
        [sys.executable, "-m", "memorax", "resume", str(folder)],
        env=os.environ | cache,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until so many lines of metrics are written."""
    path = folder / "metrics.csv"
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < count):
        time.sleep(0.005)




def test_a_killed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, _ = run_config(RUN, tmp_path / "whole")
    folder = tmp_path / "killed"
    create_folder(folder)
    write_config(folder, config_to_json(RUN))
    moments = random.Random(0)
    for expected_lines in (2, 15, 35):
        process = start(folder)
        wait_for_lines(process, folder, expected_lines)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = start(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors

    (_, _, step, state), (_, _, whole_step, whole_state) = load_run(folder), load_run(whole)
    assert step == whole_step == CHUNKS * STEPS
    arrays, whole_arrays = to_arrays(state), to_arrays(whole_state)
    for name, array in whole_arrays.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    metrics, whole_metrics = metrics_without_time(folder), metrics_without_time(whole)
    for name, column in whole_metrics.items():
        np.testing.assert_array_equal(metrics[name], column, err_msg=name)


def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    create_folder(folder)
    write_config(folder, config_to_json(dataclasses.replace(RUN, total_steps=10**9, checkpoint_seconds=1000.0)))
    process = start(folder)
    wait_for_lines(process, folder, 3)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.strip().splitlines()[-1].endswith(f"go on with `memorax resume {folder}`")
    assert load_run(folder)[2] == metrics_without_time(folder)["step"][-1]
