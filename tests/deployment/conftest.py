"""A run that is trained once."""

from __future__ import annotations

from pathlib import Path

import pytest

from memorax.algorithms import PPOConfig
from memorax.cli import main
from memorax.training import TrainConfig, run_config

CONFIG = TrainConfig(
    environment="gymnasium::CartPole-v1",
    environment_options={"mask_observation": (0, 2), "frame_stack": 2, "max_episode_steps": 30},
    normalize_observation=True,
    previous_action=True,
    hyperparameters=PPOConfig(num_envs=2, num_steps=32, num_minibatches=2, update_epochs=1),
    torso="gru",
    features=8,
    total_steps=128,
    seed=3,
    evaluation_steps=64,
    loggers=("file",),
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    run_config(CONFIG, path)
    return path


@pytest.fixture(scope="session")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "policy"
    assert main(["export", str(folder), str(path)]) == 0
    return path
