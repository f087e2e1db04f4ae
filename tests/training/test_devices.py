from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import memorax
from memorax.algorithms import DQNConfig, PPOConfig
from memorax.training import TrainingResult, build_agent, load_run
from memorax.training.checkpoints import to_arrays
from memorax.training.config import TrainConfig, config_to_json
from memorax.training.devices import make_placement
from memorax.training.folder import create_folder, write_config
from memorax.training.record import read_record
from tests.training.small import CONFIG, STEPS, metrics_without_time, run
from tests.training.test_kill import COMPILED

THREE = dataclasses.replace(CONFIG, num_seeds=3)
ONE = dataclasses.replace(CONFIG, num_seeds=1, total_steps=8 * STEPS)

UPDATES: dict[str, dict[str, Any]] = {
    "ppo": {"hyperparameters": PPOConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=4)},
    "dqn": {
        "algorithm": "dqn",
        "hyperparameters": DQNConfig(
            num_envs=4, num_steps=4, num_updates=4, learning_starts=32, buffer_size=256, batch_size=4
        ),
    },
}
"""Settings that make 64 and 56 updates in 256 steps."""


def resume_on_four(devices: Mapping[Path, int | None]) -> None:
    """Go on with runs in a process that has four devices; a folder without a checkpoint starts anew.

    Args:
        devices: for each folder, the number of devices it asks for.
    """
    calls = [
        f"result = resume_run({str(folder)!r}, {8 * STEPS}, devices={number})\n"
        # What is done with it must not need several cores at once.
        "assert all(len(x.devices()) == 1 for x in jax.tree.leaves(result.state))"
        for folder, number in devices.items()
    ]
    settings = {"JAX_NUM_CPU_DEVICES": "4", "JAX_COMPILATION_CACHE_DIR": COMPILED}
    subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            "\n".join(["import jax", "from memorax.training import resume_run", *calls]),
        ],
        env=os.environ | settings | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"},
        check=True,
    )


def new_folder(folder: Path, config: TrainConfig) -> Path:
    create_folder(folder)
    write_config(folder, config_to_json(config))
    return folder


def assert_same_run(folder: Path, whole: tuple[Path, TrainingResult], devices: str) -> None:
    record = read_record(folder)
    assert [life["device"] for life in (record.origin, *record.resumed) if life][-1] == devices
    arrays, others = to_arrays(load_run(folder).states), to_arrays(whole[1].state)
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)
    metrics, other_metrics = metrics_without_time(folder), metrics_without_time(whole[0])
    for name, column in metrics.items():
        np.testing.assert_array_equal(column, other_metrics[name], err_msg=name)


def test_seeds_are_the_same_on_any_number_of_devices(tmp_path: Path) -> None:
    """Bit for bit, also where the devices do not divide them, and where a run goes on on more of them."""
    agent = build_agent(THREE)
    whole = tmp_path / "whole", run(agent, THREE, tmp_path / "whole")
    run(agent, dataclasses.replace(THREE, total_steps=4 * STEPS), tmp_path / "begun")
    fresh = new_folder(tmp_path / "fresh", THREE)
    resume_on_four({tmp_path / "begun": 2, fresh: None})
    assert_same_run(tmp_path / "begun", whole, "2 x cpu")
    assert_same_run(fresh, whole, "3 x cpu")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_one_agent_is_the_same_on_two_devices_within_rounding(algorithm: str, tmp_path: Path) -> None:
    """Over 50 updates of the same batches; where a rounding first makes an action another one, all differs."""
    config = dataclasses.replace(ONE, **UPDATES[algorithm])
    folders = [new_folder(tmp_path / name, config) for name in ("one", "two")]
    resume_on_four(dict(zip(folders, (1, 2), strict=True)))
    assert [read_record(folder).resumed[-1]["device"] for folder in folders] == ["1 x cpu", "2 x cpu"]
    one, two = (metrics_without_time(folder) for folder in folders)
    assert one["step"].tolist() == two["step"].tolist()
    for name, column in one.items():
        np.testing.assert_allclose(two[name], column, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("torso", ["mlp", "lstm", "lru", "mamba", "shm", "mlstm", "linear_attention", "attention"])
def test_seeds_of_every_kind_of_torso_are_the_same_on_two_devices(torso: str, tmp_path: Path) -> None:
    config = dataclasses.replace(THREE, torso=torso, features=8)
    whole = tmp_path / "whole", run(build_agent(config), config, tmp_path / "whole")
    folder = new_folder(tmp_path / "spread", config)
    resume_on_four({folder: 2})
    assert_same_run(folder, whole, "2 x cpu")


@pytest.mark.parametrize(
    ("num_seeds", "asked", "used", "rows"),
    [
        (1, None, 1, 1),
        (3, None, 3, 3),
        (4, None, 4, 4),
        (5, None, 3, 6),
        (256, None, 4, 256),
        (5, 2, 2, 6),
        (5, 1, 1, 5),
    ],
)
def test_no_more_devices_are_used_than_help(
    num_seeds: int, asked: int | None, used: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices() * 4)
    placement = make_placement(memorax.make("memory::MemoryChain")[0], 8, num_seeds, asked)
    assert (len(placement.devices), placement.rows) == (used, rows)


def test_devices_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    env, _ = memorax.make("memory::MemoryChain")
    for number in (0, 3):
        with pytest.raises(ValueError, match=rf"devices \({number}\) must lie between 1 and {len(jax.devices())}"):
            make_placement(env, 8, 4, number)
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices() * 4)
    with pytest.raises(ValueError, match=r"num_envs \(6\) must be divisible by devices \(4\), which share one agent"):
        make_placement(env, 6, 1, 4)
    on_host, _ = memorax.make("gymnasium::CartPole-v1")
    assert len(make_placement(on_host, 8, 1).devices) == 1
    with pytest.raises(ValueError, match=r"devices \(2\) must be 1: .*CartPole-v1.* runs on the host"):
        make_placement(on_host, 8, 1, 2)


def test_cores_become_devices() -> None:
    """In a process of its own, before JAX starts; what the user has set stays."""
    script = (
        "from memorax.training.devices import cores_to_devices, usable_cores; import sys, jax;"
        "cores_to_devices(int(sys.argv[1]) or None); print(jax.device_count() - usable_cores());"
        "cores_to_devices(7); print(jax.device_count() - usable_cores())"
    )

    def difference(asked: int, **environment: str) -> list[int]:
        command = [sys.executable, "-c", script, str(asked)]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
        return [int(line) for line in done.stdout.split()]

    cores = len(os.sched_getaffinity(0))
    assert difference(0) == [0, 0]
    assert difference(5, JAX_NUM_CPU_DEVICES="6") == [6 - cores] * 2
