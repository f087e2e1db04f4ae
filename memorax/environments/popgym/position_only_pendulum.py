"""PositionOnlyPendulum: swing the rod up without seeing its velocity."""

from __future__ import annotations

from memorax.environments.popgym.pendulum import PendulumTask


class PositionOnlyPendulum(PendulumTask):
    """The observation is the cosine and the sine of the rod's angle from upright; the rest is said by `PendulumTask`.

    Args:
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer.
    """

    def __init__(self, max_episode_length: int = 200) -> None:
        super().__init__(max_episode_length)
