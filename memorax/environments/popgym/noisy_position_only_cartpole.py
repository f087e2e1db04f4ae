"""NoisyPositionOnlyCartPole: balance the pole seeing positions through noise."""

from __future__ import annotations

from memorax.environments.popgym.cartpole import CartPoleTask


class NoisyPositionOnlyCartPole(CartPoleTask):
    """The observation is the position of the cart and the angle of the pole, with Gaussian noise added to them.

    The noise has the same standard deviation for the position (metres) and the angle (radians), and the sum is
    clipped to the observation space. The rest is said by `CartPoleTask`.

    Args:
        max_episode_length: the time limit, in steps.
        noise_sigma: standard deviation of the noise.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer or `noise_sigma` is negative.
    """

    def __init__(self, max_episode_length: int = 200, noise_sigma: float = 0.1) -> None:
        super().__init__(max_episode_length, noise_sigma)
