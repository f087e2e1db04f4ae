"""A run small enough to train in a second."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memorax.algorithms import PPOConfig
from memorax.algorithms.algorithm import Agent
from memorax.evaluation import read_metrics
from memorax.loggers import FileLogger, Logger
from memorax.training import TrainConfig, TrainingResult, build_agent, train
from memorax.training.checkpoints import to_arrays
from memorax.training.config import config_to_json

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


@functools.cache
def small_agent() -> Agent:
    """The agent of these settings, which is compiled once for all tests of a process."""
    return build_agent(CONFIG)


def metrics_without_time(folder: Path) -> dict[str, np.ndarray]:
    """The metrics of a run but the wall-clock time."""
    table = read_metrics(folder)
    del table["seconds"]
    return table


def run(
    agent: Agent, config: TrainConfig, folder: Path | None, loggers: Sequence[Logger] = (), resume: bool = False
) -> TrainingResult:
    """What `run_config` and `resume_run` do, with an agent that has been compiled before."""
    return train(
        agent,
        config.total_steps,
        seed=config.seed,
        num_seeds=config.num_seeds,
        folder=folder,
        resume=resume,
        log_interval=config.log_interval,
        evaluation_interval=config.evaluation_interval,
        evaluation_steps=config.evaluation_steps,
        checkpoint_seconds=config.checkpoint_seconds,
        loggers=[*([] if folder is None else [FileLogger(folder)]), *loggers],
        config=config_to_json(config),
        keep_checkpoints=config.keep_checkpoints,
        patience=config.patience,
        on_nan=config.on_nan,
    )


def assert_same(one: TrainingResult, other: TrainingResult) -> None:
    """Check that two runs ended with the same keys and states, bit for bit."""
    arrays, others = (to_arrays((result.key, result.state)) for result in (one, other))
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)
