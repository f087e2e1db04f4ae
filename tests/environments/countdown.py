"""A small environment of gymnasium's whose every step is known, registered as `memorax/Countdown-v0`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

opened: list[Countdown] = []
"""Every one that was made since the list was cleared."""


class Broken(Exception):
    """What a broken environment raises."""


class Countdown(gymnasium.Env):
    """Observes how many steps are left, and the seed of the first episode; action 2 ends the episode at once.

    Its observation is one array, written over at every step and reset.

    Args:
        length: steps after which the episode ends by itself.
        broken_at: how many steps are left when it raises `Broken`.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, length: int = 3, broken_at: int | None = None, render_mode: str | None = None) -> None:
        self.length, self.broken_at, self.render_mode = length, broken_at, render_mode
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Discrete(3, start=1)
        self.observation = np.zeros(2)
        self.closed = False
        opened.append(self)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation[:] = self.length, self.observation[1] if seed is None else seed % 1000
        return self.observation, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.observation[0] -= 1
        if self.observation[0] == self.broken_at:
            raise Broken("the countdown broke")
        ended = bool(self.observation[0] == 0 or action == 3)
        return self.observation, 1.0, ended, False, {}

    def render(self) -> np.ndarray:
        return np.full((4, 5, 3), self.observation[0], np.uint8)

    def close(self) -> None:
        self.closed = True


gymnasium.register("memorax/Countdown-v0", Countdown)
