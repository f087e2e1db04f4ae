"""NoisyPositionOnlyPendulum: swing the rod up seeing its position through noise."""

from __future__ import annotations

from memorax.environments.popgym.pendulum import PendulumTask


class NoisyPositionOnlyPendulum(PendulumTask):
    """The observation is the cosine and the sine of the rod's angle from upright, with Gaussian noise added to them.

    The noise has the same standard deviation for both, and the sum is clipped to +-1. The rest is said by
    `PendulumTask`.

    Args:
        max_episode_length: the time limit, in steps.
        noise_sigma: standard deviation of the noise.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer or `noise_sigma` is negative.
    """

    def __init__(self, max_episode_length: int = 200, noise_sigma: float = 0.1) -> None:
        super().__init__(max_episode_length, noise_sigma)
