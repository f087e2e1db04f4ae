"""POPGym tasks in pure JAX, step for step those of the `popgym` 1.0.7 package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memorax.environments.environment import Environment
from memorax.environments.options import check_options, constructor_options
from memorax.environments.popgym.autoencode import Autoencode
from memorax.environments.popgym.battleship import Battleship
from memorax.environments.popgym.concentration import Concentration
from memorax.environments.popgym.count_recall import CountRecall
from memorax.environments.popgym.higher_lower import HigherLower
from memorax.environments.popgym.labyrinth_escape import LabyrinthEscape
from memorax.environments.popgym.labyrinth_explore import LabyrinthExplore
from memorax.environments.popgym.mine_sweeper import MineSweeper
from memorax.environments.popgym.multiarmed_bandit import MultiarmedBandit
from memorax.environments.popgym.noisy_position_only_cartpole import NoisyPositionOnlyCartPole
from memorax.environments.popgym.noisy_position_only_pendulum import NoisyPositionOnlyPendulum
from memorax.environments.popgym.position_only_cartpole import PositionOnlyCartPole
from memorax.environments.popgym.position_only_pendulum import PositionOnlyPendulum
from memorax.environments.popgym.repeat_first import RepeatFirst
from memorax.environments.popgym.repeat_previous import RepeatPrevious
from memorax.environments.popgym.velocity_only_cartpole import VelocityOnlyCartPole
from memorax.types import PyTree

LEVELS: Mapping[str, tuple[Callable[..., Environment], Mapping[str, Any]]] = {
    "AutoencodeEasy": (Autoencode, {"num_decks": 1}),
    "AutoencodeMedium": (Autoencode, {"num_decks": 2}),
    "AutoencodeHard": (Autoencode, {"num_decks": 3}),
    "BattleshipEasy": (Battleship, {"board_size": 8}),
    "BattleshipMedium": (Battleship, {"board_size": 10}),
    "BattleshipHard": (Battleship, {"board_size": 12}),
    "ConcentrationEasy": (Concentration, {"num_decks": 1, "deck_type": "colors"}),
    "ConcentrationMedium": (Concentration, {"num_decks": 2, "deck_type": "colors"}),
    "ConcentrationHard": (Concentration, {"num_decks": 1, "deck_type": "ranks"}),
    "CountRecallEasy": (CountRecall, {"num_decks": 1, "deck_type": "colors"}),
    "CountRecallMedium": (CountRecall, {"num_decks": 2, "deck_type": "suits"}),
    "CountRecallHard": (CountRecall, {"num_decks": 4, "deck_type": "ranks"}),
    "HigherLowerEasy": (HigherLower, {"num_decks": 1}),
    "HigherLowerMedium": (HigherLower, {"num_decks": 2}),
    "HigherLowerHard": (HigherLower, {"num_decks": 3}),
    "LabyrinthEscapeEasy": (LabyrinthEscape, {"maze_dims": (10, 10)}),
    "LabyrinthEscapeMedium": (LabyrinthEscape, {"maze_dims": (14, 14)}),
    "LabyrinthEscapeHard": (LabyrinthEscape, {"maze_dims": (18, 18)}),
    "LabyrinthExploreEasy": (LabyrinthExplore, {"maze_dims": (10, 10)}),
    "LabyrinthExploreMedium": (LabyrinthExplore, {"maze_dims": (14, 14)}),
    "LabyrinthExploreHard": (LabyrinthExplore, {"maze_dims": (18, 18)}),
    "MineSweeperEasy": (MineSweeper, {"board_size": 4, "num_mines": 2}),
    "MineSweeperMedium": (MineSweeper, {"board_size": 6, "num_mines": 6}),
    "MineSweeperHard": (MineSweeper, {"board_size": 8, "num_mines": 10}),
    "MultiarmedBanditEasy": (MultiarmedBandit, {"num_bandits": 10, "max_episode_length": 200}),
    "MultiarmedBanditMedium": (MultiarmedBandit, {"num_bandits": 20, "max_episode_length": 400}),
    "MultiarmedBanditHard": (MultiarmedBandit, {"num_bandits": 30, "max_episode_length": 600}),
    "NoisyPositionOnlyCartPoleEasy": (NoisyPositionOnlyCartPole, {"noise_sigma": 0.1}),
    "NoisyPositionOnlyCartPoleMedium": (NoisyPositionOnlyCartPole, {"noise_sigma": 0.2}),
    "NoisyPositionOnlyCartPoleHard": (NoisyPositionOnlyCartPole, {"noise_sigma": 0.3}),
    "NoisyPositionOnlyPendulumEasy": (NoisyPositionOnlyPendulum, {"noise_sigma": 0.1}),
    "NoisyPositionOnlyPendulumMedium": (NoisyPositionOnlyPendulum, {"noise_sigma": 0.2}),
    "NoisyPositionOnlyPendulumHard": (NoisyPositionOnlyPendulum, {"noise_sigma": 0.3}),
    "PositionOnlyCartPoleEasy": (PositionOnlyCartPole, {"max_episode_length": 200}),
    "PositionOnlyCartPoleMedium": (PositionOnlyCartPole, {"max_episode_length": 400}),
    "PositionOnlyCartPoleHard": (PositionOnlyCartPole, {"max_episode_length": 600}),
    "PositionOnlyPendulumEasy": (PositionOnlyPendulum, {"max_episode_length": 200}),
    "PositionOnlyPendulumMedium": (PositionOnlyPendulum, {"max_episode_length": 150}),
    "PositionOnlyPendulumHard": (PositionOnlyPendulum, {"max_episode_length": 100}),
    "RepeatFirstEasy": (RepeatFirst, {"num_decks": 1}),
    "RepeatFirstMedium": (RepeatFirst, {"num_decks": 8}),
    "RepeatFirstHard": (RepeatFirst, {"num_decks": 16}),
    "RepeatPreviousEasy": (RepeatPrevious, {"num_decks": 1, "k": 4}),
    "RepeatPreviousMedium": (RepeatPrevious, {"num_decks": 2, "k": 32}),
    "RepeatPreviousHard": (RepeatPrevious, {"num_decks": 3, "k": 64}),
    "VelocityOnlyCartPoleEasy": (VelocityOnlyCartPole, {"max_episode_length": 200}),
    "VelocityOnlyCartPoleMedium": (VelocityOnlyCartPole, {"max_episode_length": 400}),
    "VelocityOnlyCartPoleHard": (VelocityOnlyCartPole, {"max_episode_length": 600}),
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
