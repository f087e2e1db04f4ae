"""Atari games of the Arcade Learning Environment (Bellemare et al., 2013), by the vector environment of `ale-py`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from ale_py import roms

from memorax.installation import install_command

try:
    from ale_py.vector_env import AtariVectorEnv
    from gymnasium.vector import AutoresetMode
except ImportError as error:
    raise ImportError(
        "the ale environments need ale-py 0.12 and gymnasium 1.1 or newer: " + install_command("ale", upgrade=True)
    ) from error

from memorax.environments.gymnasium_spaces import convert
from memorax.environments.host import HostBatch, HostEnvironment, HostStep
from memorax.environments.options import check_options
from memorax.environments.spaces import Box

OPTIONS: Mapping[str, type] = {
    "repeat_action_probability": float,
    "full_action_space": bool,
    "continuous": bool,
    "continuous_action_threshold": float,
    "max_num_frames_per_episode": int,
    "frameskip": int,
    "maxpool": bool,
    "noop_max": int,
    "use_fire_reset": bool,
    "episodic_life": bool,
    "reward_clipping": bool,
    "grayscale": bool,
    "img_height": int,
    "img_width": int,
    "stack_num": int,
    "num_threads": int,
}
"""The arguments of `AtariVectorEnv` that may be given, and their types; the others are settled by what a batch is."""

DEFAULTS = {"stack_num": 1}
"""Where ours differ from those of `AtariVectorEnv`: remembering the last frames is left to the network."""


def ids() -> list[str]:
    """The names of the games, as `ale_py.roms` spells them."""
    return sorted(roms.get_all_rom_ids())


def make(id: str, **kwargs: Any) -> tuple[HostEnvironment, None]:
    """Make a game; `kwargs` are arguments of `AtariVectorEnv`, whose defaults hold but for `stack_num`, which is 1.

    Observations are uint8 `[img_height, img_width, channels]`, gray unless `grayscale=False`; the frames of a stack,
    the newest last, and their colours are side by side in the channels. By default four frames are skipped, rewards
    are clipped to -1, 0 and 1 (so that returns are those of clipped rewards), and actions are never repeated:
    `repeat_action_probability=0.25` makes them sticky (Machado et al., 2018).

    Raises:
        ValueError: if there is no such argument, or its value is not valid.
    """
    name = f"ale::{id}"
    check_options(name, kwargs, OPTIONS)
    for option, value in kwargs.items():
        _check(name, option, value)
    settings = DEFAULTS | kwargs
    batch = AtariBatch(id, settings, 1)
    try:
        action_space = convert(batch.games.single_action_space, name)
        stack, height, width, *colours = batch.games.single_observation_space.shape
    finally:
        batch.close()
    observation_space = Box(0, 255, (height, width, stack * int(np.prod(colours))), np.uint8)
    make_batch = functools.partial(AtariBatch, id, settings)
    return HostEnvironment(name, make_batch, observation_space, action_space, renders=True), None


class AtariBatch(HostBatch):
    """Games stepped side by side in threads of their own.

    Args:
        game: the name of the game.
        settings: arguments of `AtariVectorEnv`.
        num_envs: number of environments in the batch.
    """

    def __init__(self, game: str, settings: dict[str, Any], num_envs: int) -> None:
        self.games = AtariVectorEnv(game, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **settings)
        self.newest = np.zeros(0, np.uint8)

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        frames, _ = self.games.reset(seed=seeds)
        return self._observe(frames)

    def step(self, action: np.ndarray) -> HostStep:
        frames, reward, terminated, truncated, info = self.games.step(action)
        done = terminated | truncated
        observation = final_observation = self._observe(frames)
        if done.any():
            ended = done.reshape(-1, 1, 1, 1)
            final_observation = np.where(ended, _channels_last(info["final_obs"]), observation)
        return observation, reward.astype(np.float32), terminated, truncated, final_observation

    def close(self) -> None:
        self.games.close()

    def render(self, index: int) -> np.ndarray:
        """The newest frame as the agent sees it."""
        colours = 1 if self.games.grayscale else 3
        newest = self.newest[index, ..., -colours:]
        return np.ascontiguousarray(np.broadcast_to(newest, (*newest.shape[:2], 3)))

    def _observe(self, frames: np.ndarray) -> np.ndarray:
        self.newest = _channels_last(frames)
        return self.newest


def _channels_last(frames: np.ndarray) -> np.ndarray:
    """Frames `[B, stack, H, W]` or `[B, stack, H, W, 3]` as a new array `[B, H, W, channels]`."""
    moved = np.moveaxis(frames, 1, 3)
    return np.array(moved.reshape(*moved.shape[:3], -1))


def _check(name: str, option: str, value: Any) -> None:
    kind = OPTIONS[option]
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    match kind.__name__:
        case "bool":
            valid, must = isinstance(value, bool), "True or False"
        case "int":
            lowest = 0 if option in ("noop_max", "num_threads") else 1
            valid, must = number and value >= lowest, f"an integer from {lowest} up"
        case _:
            valid, must = (number or isinstance(value, float)) and 0 <= value <= 1, "a number from 0 to 1"
    if not valid:
        raise ValueError(f"{option} ({value!r}) of {name} must be {must}")
