"""POPGym tasks in pure JAX, step for step those of the `popgym` 1.0.7 package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memorax.environments.environment import Environment
from memorax.environments.options import check_options, constructor_options
from memorax.environments.popgym.noisy_position_only_cartpole import NoisyPositionOnlyCartPole
from memorax.environments.popgym.position_only_cartpole import PositionOnlyCartPole
from memorax.environments.popgym.repeat_first import RepeatFirst
from memorax.environments.popgym.repeat_previous import RepeatPrevious
from memorax.types import PyTree

LEVELS: Mapping[str, tuple[Callable[..., Environment], Mapping[str, Any]]] = {
    "NoisyPositionOnlyCartPoleEasy": (NoisyPositionOnlyCartPole, {"noise_sigma": 0.1}),
    "NoisyPositionOnlyCartPoleMedium": (NoisyPositionOnlyCartPole, {"noise_sigma": 0.2}),
    "NoisyPositionOnlyCartPoleHard": (NoisyPositionOnlyCartPole, {"noise_sigma": 0.3}),
    "PositionOnlyCartPoleEasy": (PositionOnlyCartPole, {"max_episode_length": 200}),
    "PositionOnlyCartPoleMedium": (PositionOnlyCartPole, {"max_episode_length": 400}),
    "PositionOnlyCartPoleHard": (PositionOnlyCartPole, {"max_episode_length": 600}),
    "RepeatFirstEasy": (RepeatFirst, {"num_decks": 1}),
    "RepeatFirstMedium": (RepeatFirst, {"num_decks": 8}),
    "RepeatFirstHard": (RepeatFirst, {"num_decks": 16}),
    "RepeatPreviousEasy": (RepeatPrevious, {"num_decks": 1, "k": 4}),
    "RepeatPreviousMedium": (RepeatPrevious, {"num_decks": 2, "k": 32}),
    "RepeatPreviousHard": (RepeatPrevious, {"num_decks": 3, "k": 64}),
}


def ids() -> list[str]:
    """The names `make` knows."""
    return list(LEVELS)


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make a task at a level; `kwargs` override the level's own settings.

    Raises:
        ValueError: if the task has no such setting, or the value is not valid.
    """
    task, settings = LEVELS[id]
    check_options(f"popgym::{id}", kwargs, constructor_options(task))
    env = task(**{**settings, **kwargs})
    return env, env.default_params
