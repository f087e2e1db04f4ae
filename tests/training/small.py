"""A run small enough to train in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memorax.algorithms import PPOConfig
from memorax.evaluation import read_metrics
from memorax.training import TrainConfig

STEPS = 32

CONFIG = TrainConfig(
    environment="popgym::RepeatPreviousEasy",
    hyperparameters=PPOConfig(num_envs=2, num_steps=16, num_minibatches=2, update_epochs=1),
    torso="gru",
    features=4,
    total_steps=8 * STEPS,
    num_seeds=2,
    seed=3,
    log_interval=STEPS,
    evaluation_interval=4 * STEPS,
    evaluation_steps=128,
    checkpoint_seconds=0.0,
    loggers=("file",),
)


def metrics_without_time(folder: Path) -> dict[str, np.ndarray]:
    """The metrics of a run but the wall-clock time."""
    table = read_metrics(folder)
    del table["seconds"]
    return table
