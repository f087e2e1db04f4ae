"""The training loop, from Python and for the command line.

`train(agent, total_steps=100_000, num_seeds=4, folder="runs/mine")` trains any agent;
`run_config(TrainConfig(...))` also builds it.
"""

from __future__ import annotations

from memorax.training.callbacks import Callback, Event
from memorax.training.config import TrainConfig, build_agent
from memorax.training.finite import NotFinite
from memorax.training.interruption import Interrupted
from memorax.training.loop import TrainingResult, train
from memorax.training.run import Evaluation, Run, evaluate_run, load_run, render_run, resume_run, run_config

__all__ = [
    "Callback",
    "Evaluation",
    "Event",
    "Interrupted",
    "NotFinite",
    "Run",
    "TrainConfig",
    "TrainingResult",
    "build_agent",
    "evaluate_run",
    "load_run",
    "render_run",
    "resume_run",
    "run_config",
    "train",
]
