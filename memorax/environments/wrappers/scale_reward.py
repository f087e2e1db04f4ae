"""Multiplies rewards by a constant."""

from __future__ import annotations

from typing import Any

from memorax.environments.environment import Environment
from memorax.environments.wrappers.arguments import require_number
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array


class ScaleReward(Transform):
    """Multiply rewards by a constant; episode statistics count them as they were.

    Args:
        env: the environment.
        scale: factor of the rewards.

    Raises:
        ValueError: if `scale` is not a finite number other than zero.
    """

    def __init__(self, env: Environment, scale: float) -> None:
        super().__init__(env)
        self.scale = require_number("scale_reward", scale, lambda s: s != 0, "be a finite number other than 0")

    def reward(self, reward: Array, info: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        return self.scale * reward, {"raw_reward": reward, **info}
