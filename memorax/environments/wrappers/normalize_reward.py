"""Divides rewards by the standard deviation of their discounted sum."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from memorax.environments.environment import Environment, StepResult, VectorEnvironment
from memorax.environments.wrappers.arguments import require_number
from memorax.environments.wrappers.batch_wrapper import BatchWrapper
from memorax.environments.wrappers.running_statistics import (
    RunningStatistics,
    divide_by_deviation,
    for_all,
    initial_statistics,
    of_one,
    update_statistics,
    without_outliers,
)
from memorax.types import Array, Key, PyTree


class NormalizedRewardState(struct.PyTreeNode):
    """The state of the batch inside; the discounted sums of the running episodes; their statistics: leaves `[B, ...]`.

    The statistics are shared: every environment holds a copy.
    """

    env_state: PyTree
    discounted_return: Array
    statistics: RunningStatistics


class NormalizeReward(BatchWrapper):
    """Divide rewards by the standard deviation of a discounted sum of them, and clip them to +-10.

    The sum is `R = gamma * R + reward`, from 0 at the start of an episode; its variance is that over all steps of
    training, in all environments together, and each step counts before its reward is divided. Rewards are not shifted.
    A reward that is not finite is passed on (NaN as it is, infinity as +-10), counted in the statistics' `left_out` and
    in nothing else; of outliers see `update_statistics`. The statistics are part of the state, so that a checkpoint
    saves them; evaluation uses them and leaves them as they are. Episode statistics count rewards as they were.

    Source: Engstrom et al., "Implementation Matters in Deep Policy Gradients", 2020, on reward scaling.

    Args:
        env: the environment.
        gamma: the discount of the sum.

    Raises:
        ValueError: if `gamma` does not lie between 0 and 1, or is 1.
    """

    def __init__(self, env: Environment, gamma: float) -> None:
        super().__init__(env)
        must = "be the discount of returns, a number from 0 up to but without 1"
        self.gamma = require_number("normalize_reward", gamma, lambda g: 0 <= g < 1, must)

    @property
    def has_running_statistics(self) -> bool:
        return True

    def vectorize(self, num_envs: int) -> VectorEnvironment:
        return NormalizedRewards(self, self.env.vectorize(num_envs))

    def inner_state(self, env_state: NormalizedRewardState) -> PyTree:
        return env_state.env_state


class NormalizedRewards(VectorEnvironment):
    """A batch whose rewards are normalised.

    Attributes:
        env: the wrapper.
        inner: the batch inside.
        fixed: statistics to use and keep; by default they follow the rewards.
    """

    env: NormalizeReward

    def __init__(self, env: NormalizeReward, inner: VectorEnvironment, fixed: RunningStatistics | None = None) -> None:
        super().__init__(env, inner.num_envs)
        self.inner = inner
        self.fixed = fixed

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, NormalizedRewardState]:
        observation, env_state = self.inner.reset(key, params)
        statistics = initial_statistics(()) if self.fixed is None else self.fixed
        return observation, self._state(env_state, jnp.zeros((self.batch_size,), jnp.float32), statistics)

    def step(self, key: Key, env_state: NormalizedRewardState, action: PyTree, params: PyTree) -> StepResult:
        observation, inner, reward, terminated, truncated, info = self.inner.step(
            key, env_state.env_state, action, params
        )
        before = self.env.gamma * env_state.discounted_return
        statistics = of_one(env_state.statistics)
        if self.fixed is None:
            # What comes after an agent went out is no part of any return.
            statistics = update_statistics(statistics, before + reward, info.get("active"))
        # A reward that is not finite is left out of the sum and an outlier is clipped: it would stay in the sum. Only
        # the other environments tell an outlier of the very first step.
        discounted_return = jnp.where(jnp.isfinite(reward), without_outliers(statistics, before + reward), before)
        scaled = divide_by_deviation(statistics, reward)
        running = jnp.where(terminated | truncated, 0.0, discounted_return)
        state = self._state(inner, running, statistics)
        return observation, state, scaled, terminated, truncated, {"raw_reward": reward, **info}

    def frozen(self, env_state: NormalizedRewardState) -> VectorEnvironment:
        inner = self.inner.frozen(env_state.env_state)
        return NormalizedRewards(self.env, inner, fixed=of_one(env_state.statistics))

    def _state(
        self, env_state: PyTree, discounted_return: Array, statistics: RunningStatistics
    ) -> NormalizedRewardState:
        return NormalizedRewardState(
            env_state=env_state,
            discounted_return=discounted_return,
            statistics=for_all(statistics, self.batch_size),
        )
