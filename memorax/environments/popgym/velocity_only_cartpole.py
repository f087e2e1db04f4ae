"""VelocityOnlyCartPole: balance the pole seeing nothing but velocities."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from memorax.environments.popgym.cartpole import CartPoleState, CartPoleTask
from memorax.environments.popgym.control import ControlParams
from memorax.environments.spaces import Box
from memorax.types import Array


class VelocityOnlyCartPole(CartPoleTask):
    """The observation is the velocity of the cart and the angular velocity of the pole, but at the start of an episode,
    as in the package, their positions: the position of the cart and the angle of the pole.

    The rest is said by `CartPoleTask`.

    Args:
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer.
    """

    def __init__(self, max_episode_length: int = 200) -> None:
        super().__init__(max_episode_length)

    def observe_first(self, state: CartPoleState) -> Array:
        return super().observe(state)

    def observe(self, state: CartPoleState) -> Array:
        """Velocity of the cart and angular velocity of the pole: float32, `[2]`."""
        return jnp.stack([state.velocity, state.angular_velocity]).astype(jnp.float32)

    def observation_space(self, params: ControlParams) -> Box:
        return Box(-np.inf, np.inf, (2,))
