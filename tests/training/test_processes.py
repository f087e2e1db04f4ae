"""Two processes on the loopback address train one run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from memorax.cli import main
from memorax.training import build_agent, load_run
from memorax.training.checkpoints import to_arrays
from memorax.training.config import config_to_json
from memorax.training.folder import create_folder, write_config
from memorax.training.processes import any_process, check_same_step, gather, is_first
from memorax.training.record import read_record
from memorax.training.run import resume_run
from tests.training.small import CONFIG as SMALL
from tests.training.small import STEPS, metrics_without_time, run
from tests.training.test_kill import COMPILED, wait_for_lines

CONFIG = dataclasses.replace(SMALL, num_seeds=3, total_steps=8 * STEPS)


@contextlib.contextmanager
def two_processes(folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """`memorax resume` in two processes of one device each; a folder without a checkpoint starts from its beginning."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ["--coordinator", f"127.0.0.1:{free.getsockname()[1]}", "--num-processes", "2"]
    settings = {"JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": COMPILED}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "memorax", "resume", str(folder), *address, "--process-id", str(number)],
            env=os.environ | settings | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_the_loss_of_one_ends_the_run(tmp_path: Path) -> None:
    whole = run(build_agent(CONFIG), CONFIG, tmp_path / "whole")
    folder = tmp_path / "run"
    create_folder(folder)
    write_config(folder, config_to_json(CONFIG))
    with two_processes(folder) as (first, second):
        wait_for_lines(first, folder, 10)
        second.kill()
        _, errors = first.communicate(timeout=60)
        assert first.returncode == 2
        remedy = f"go on from the last checkpoint with `memorax resume {folder}`"
        assert f"error: another process of this run was lost: {remedy}" in errors.splitlines()
    with two_processes(folder) as (first, second):
        output, errors = first.communicate(timeout=300)
        assert (first.returncode, second.wait(timeout=60)) == (0, 0), errors
        assert f"everything is in {folder}" in output
    assert read_record(folder).resumed[-1]["device"] == "2 x cpu"
    assert resume_run(folder).metrics == [], "complete, and read by a process alone"
    arrays, others = to_arrays(load_run(folder).states), to_arrays(whole.state)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)
    metrics, other_metrics = metrics_without_time(folder), metrics_without_time(tmp_path / "whole")
    for name, column in metrics.items():
        np.testing.assert_array_equal(column, other_metrics[name], err_msg=name)


def test_a_process_alone_decides_alone() -> None:
    assert is_first()
    assert (any_process(True), any_process(False)) == (True, False)
    check_same_step(5)
    assert gather(np.arange(3)).shape[-1] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-processes", "2"], "num_processes and process_id need coordinator"),
        (["--coordinator", "127.0.0.1:1"], "folder must be given where several processes"),
        (
            ["--folder", "x", "--coordinator", "127.0.0.1:1", "--process-id", "2"],
            "process_id (2) and num_processes (None",
        ),
        (["--folder", "x", "--coordinator", "auto", "--process-id", "0"], "must be left out where coordinator is auto"),
    ],
)
def test_what_does_not_fit_together_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err
