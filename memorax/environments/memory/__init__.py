"""Tasks that isolate one demand on memory, with the best score with and without memory known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memorax.environments.environment import Environment
from memorax.environments.memory.associative_recall import AssociativeRecall
from memorax.environments.memory.delayed_match_to_sample import DelayedMatchToSample
from memorax.environments.memory.memory_chain import MemoryChain
from memorax.environments.memory.recall_horizon import RecallHorizon
from memorax.environments.memory.t_maze import TMaze
from memorax.environments.options import check_options, constructor_options
from memorax.types import PyTree

HORIZONS = (8, 16, 32, 64, 128, 256, 512, 1024)

TASKS: Mapping[str, tuple[Callable[..., Environment], Mapping[str, Any]]] = {
    "ActiveTMaze": (TMaze, {"active": True}),
    "AssociativeRecall": (AssociativeRecall, {}),
    "DelayedMatchToSample": (DelayedMatchToSample, {}),
    "MemoryChain": (MemoryChain, {}),
    **{f"RecallHorizon-{horizon}": (RecallHorizon, {"horizon": horizon}) for horizon in HORIZONS},
    "TMaze": (TMaze, {}),
}


def ids() -> list[str]:
    """The names `make` knows."""
    return list(TASKS)


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make a task; `kwargs` override its settings.

    Raises:
        ValueError: if the task has no such setting, or the value is not valid.
    """
    task, settings = TASKS[id]
    check_options(f"memory::{id}", kwargs, constructor_options(task))
    env = task(**{**settings, **kwargs})
    return env, env.default_params
