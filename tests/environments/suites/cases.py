"""What is tested of each suite: ids that keep the protocol, and how an episode meets its limit or ends by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

RANDOM = "random"


@dataclass(frozen=True)
class End:
    """One way for an episode to end.

    Attributes:
        id: the environment.
        options: what it is made with.
        action: taken at every step, or `RANDOM`.
        at: the step at which the episode ends, where that is known.
        before: what is done to the first state.
    """

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    action: Any = RANDOM
    at: int | None = None
    before: Callable[[Any], Any] = lambda state: state


@dataclass(frozen=True)
class Case:
    """What is tested of a suite.

    Attributes:
        ids: environments with their options, checked for the protocol.
        limit: an episode that meets its time limit.
        end: an episode that ends by itself.
        draws: whether its environments can be drawn without a screen.
    """

    ids: Mapping[str, Mapping[str, Any]]
    limit: End
    end: End
    draws: bool = True


def _exhausted(state: Any) -> Any:
    return state.replace(player_health=jnp.zeros_like(state.player_health))


def _broken(state: Any) -> Any:
    data = state.state.data
    return state.replace(state=state.state.replace(data=data.replace(qpos=jnp.full_like(data.qpos, jnp.nan))))


CASES = {
    "brax": Case(
        ids={
            "inverted_pendulum": {"backend": "spring"},
            "reacher": {"backend": "spring", "episode_length": 20},
            "halfcheetah": {"backend": "positional", "episode_length": 20},
        },
        limit=End("inverted_pendulum", {"backend": "spring", "episode_length": 4}, jnp.zeros(1), at=3),
        end=End("inverted_pendulum", {"backend": "spring"}, jnp.ones(1)),
        draws=False,
    ),
    "craftax": Case(
        ids={
            "Craftax-Classic-Symbolic-v1": {"max_timesteps": 20},
            "Craftax-Classic-Pixels-v1": {"optimistic_resets": 1, "max_timesteps": 20},
            "Craftax-Symbolic-v1": {"max_timesteps": 20},
        },
        limit=End("Craftax-Classic-Symbolic-v1", {"max_timesteps": 4}, 0, at=3),
        end=End("Craftax-Classic-Symbolic-v1", {"max_timesteps": 4}, 0, at=0, before=_exhausted),
    ),
    "gxm": Case(
        ids={
            "Gymnax/CartPole-v1": {"max_steps_in_episode": 20},
            "Navix/Navix-Empty-5x5-v0": {"max_steps": 20},
            "XMiniGrid/MiniGrid-Empty-5x5": {},
        },
        limit=End("Gymnax/CartPole-v1", {"max_steps_in_episode": 4}, 0, at=3),
        end=End("Gymnax/CartPole-v1", {}, 1),
        draws=False,
    ),
    "gymnax": Case(
        ids={"CartPole-v1": {}, "Pendulum-v1": {"max_steps_in_episode": 20}, "Catch-bsuite": {}},
        limit=End("CartPole-v1", {"max_steps_in_episode": 4}, 0, at=3),
        end=End("CartPole-v1", {}, 1),
        draws=False,
    ),
    "jaxmarl": Case(
        ids={
            "MPE_simple_spread_v3": {},
            "overcooked": {"max_steps": 20},
            "switch_riddle": {},
            "coin_game": {},
            "hanabi": {},
            "storm_np": {},
            "HeuristicEnemySMAX": {},
        },
        limit=End("MPE_simple_spread_v3", {"max_steps": 4}, 0, at=4),  # it looks before it counts
        end=End("switch_riddle", {}, 2),
        draws=False,
    ),
    "jumanji": Case(
        ids={"Snake-v1": {"time_limit": 100}, "Maze-v0": {}, "Game2048-v1": {}, "Connector-v3": {}},
        limit=End("Maze-v0", {"time_limit": 4}, 0, at=3),
        end=End("Snake-v1", {}, 0),
    ),
    "mujoco_playground": Case(
        ids={id: {"episode_length": 20} for id in ("CartpoleBalance", "PendulumSwingup", "BallInCup")},
        limit=End("CartpoleBalance", {"episode_length": 4}, jnp.zeros(1), at=3),
        end=End("CartpoleBalance", {"episode_length": 4}, jnp.zeros(1), at=0, before=_broken),
        draws=False,
    ),
    "navix": Case(
        ids={
            "Navix-DoorKey-5x5-v0": {"max_steps": 20},
            "Navix-Dynamic-Obstacles-5x5-v0": {"observation_fn": "symbolic_first_person"},
            "Navix-LavaGapS5-v0": {"observation_fn": "categorical"},
        },
        limit=End("Navix-Empty-5x5-v0", {"max_steps": 4}, 0, at=3),
        end=End("Navix-LavaGapS5-v0", {"max_steps": 1000}),
    ),
    "pobax": Case(
        ids={
            "tmaze_5": {"max_steps_in_episode": 20},
            "battleship_3": {},
            "rocksample_5_5": {"max_steps_in_episode": 20},
            "pocman": {"max_steps_in_episode": 20},
        },
        limit=End("simple_chain", {"max_steps_in_episode": 4}, 0, at=3),
        end=End("simple_chain", {}, 0, at=9),
        draws=False,
    ),
    "popgym_arcade": Case(
        ids={"CartPoleEasy": {"partial_obs": True}, "BattleShipEasy": {}, "CountRecallEasy": {}},
        limit=End("NavigatorEasy", {}, 0, at=63),
        end=End("CartPoleEasy", {}, 3),
    ),
    "xminigrid": Case(
        ids={
            "MiniGrid-DoorKey-8x8": {"max_steps": 20},
            "MiniGrid-MemoryS16": {"max_steps": 20},
            "XLand-MiniGrid-R1-9x9": {"view_size": 7, "max_steps": 20},
        },
        limit=End("MiniGrid-Empty-5x5", {"max_steps": 4}, 1, at=3),
        end=End("MiniGrid-EmptyRandom-5x5", {"max_steps": 1000}),
    ),
}
