"""MultiarmedBandit: find the arm that pays most often, and stay with it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.drawing import BLACK, GREEN, PAPER, RED, SILVER, Canvas
from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym.time_limit import check_max_episode_length
from memorax.environments.spaces import Discrete
from memorax.types import Array, Key

NONE = -1


@struct.dataclass
class MultiarmedBanditParams:
    """The length of an episode, in steps."""

    max_episode_length: Array | int


@struct.dataclass
class MultiarmedBanditState:
    """How likely each arm pays, `[num_bandits]`; the last arm pulled, -1 at first, whether it paid, and steps taken."""

    probabilities: Array
    arm: Array
    paid: Array
    time: Array


class MultiarmedBandit(Environment):
    """Each arm pays with a probability of its own, drawn uniformly for every episode.

    The action pulls an arm; the observation is 1 if it paid and 0 if not, and 0 at first. A pull that pays gives
    `1 / max_episode_length`, any other as much less, so returns lie in [-1, 1]; always the best arm gives `2 p - 1` on
    average, `p` being how likely it pays. An episode is truncated after `max_episode_length` steps.

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7 (`max_episode_length` is its `episode_length`).

    Args:
        num_bandits: number of arms.
        max_episode_length: the length of an episode, in steps.

    Raises:
        ValueError: if `num_bandits` or `max_episode_length` is not a positive integer.
    """

    def __init__(self, num_bandits: int = 10, max_episode_length: int = 200) -> None:
        check_max_episode_length(max_episode_length)
        if not isinstance(num_bandits, int | np.integer) or num_bandits < 1:
            raise ValueError(f"num_bandits ({num_bandits!r}) must be a positive integer")
        self.num_bandits = num_bandits
        self.max_episode_length = max_episode_length

    @property
    def default_params(self) -> MultiarmedBanditParams:
        return MultiarmedBanditParams(max_episode_length=self.max_episode_length)

    def reset(self, key: Key, params: MultiarmedBanditParams) -> tuple[Array, MultiarmedBanditState]:
        return self.start(jax.random.uniform(key, (self.num_bandits,)), params)

    def step_env(
        self, key: Key, env_state: MultiarmedBanditState, action: Array, params: MultiarmedBanditParams
    ) -> StepResult:
        return self.pull(jax.random.uniform(key), env_state, action, params)

    def start(self, probabilities: Array, params: MultiarmedBanditParams) -> tuple[Array, MultiarmedBanditState]:
        """`reset`, given the probabilities `[num_bandits]` that are drawn."""
        zero = jnp.zeros((), jnp.int32)
        return zero, MultiarmedBanditState(probabilities=probabilities, arm=zero + NONE, paid=zero, time=zero)

    def pull(
        self, luck: Array, env_state: MultiarmedBanditState, action: Array, params: MultiarmedBanditParams
    ) -> StepResult:
        """`step_env`, given a number drawn uniformly from [0, 1): an arm more likely than that pays."""
        paid = (luck < env_state.probabilities[action]).astype(jnp.int32)
        state = MultiarmedBanditState(
            probabilities=env_state.probabilities,
            arm=jnp.asarray(action, jnp.int32),
            paid=paid,
            time=env_state.time + 1,
        )
        scale = jnp.asarray(1.0 / params.max_episode_length, jnp.float32)
        truncated = state.time >= params.max_episode_length
        return paid, state, jnp.where(paid == 1, scale, -scale), jnp.zeros_like(truncated), truncated, {}

    def observation_space(self, params: MultiarmedBanditParams) -> Discrete:
        return Discrete(2)

    def action_space(self, params: MultiarmedBanditParams) -> Discrete:
        return Discrete(self.num_bandits)

    def render(self, env_state: MultiarmedBanditState, params: MultiarmedBanditParams) -> np.ndarray:
        """A bar for each arm, as high as it is likely to pay; the one pulled last green if it paid and red if not."""
        canvas = Canvas(140, 20 + 16 * self.num_bandits, PAPER)
        pulled = GREEN if env_state.paid else RED
        for arm, probability in enumerate(np.asarray(env_state.probabilities)):
            height = 100 * float(probability)
            color = pulled if arm == env_state.arm else SILVER
            canvas.rectangle(12 + 16 * arm, 120 - height, 12, height, color)
            if arm == env_state.arm:
                canvas.disc(18 + 16 * arm, 130, 4, color)
        canvas.rectangle(10, 120, 16 * self.num_bandits, 2, BLACK)
        return canvas.pixels
