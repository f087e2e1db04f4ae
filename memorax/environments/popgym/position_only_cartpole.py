"""PositionOnlyCartPole: balance the pole without seeing any velocity."""

from __future__ import annotations

from memorax.environments.popgym.cartpole import CartPoleTask


class PositionOnlyCartPole(CartPoleTask):
    """The observation is the position of the cart and the angle of the pole; the rest is said by `CartPoleTask`.

    Args:
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer.
    """

    def __init__(self, max_episode_length: int = 200) -> None:
        super().__init__(max_episode_length)
