"""Environments whose episodes begin wrongly after an end, with one mistake each: the check names the truth."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.environment import Environment, VectorEnvironment
from memorax.environments.spaces import Box, Space
from memorax.testing import check_environment
from memorax.testing.environment_ends import seldom
from memorax.types import Array, Key, PyTree, where
from tests.testing.test_environment import LENGTH, Walk


class Goal(Walk):
    """A goal that is not seen is drawn with each episode. What is paid is the distance to it."""

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        place_key, goal_key = jax.random.split(key)
        observation, state = super().reset(place_key, params)
        return observation, (*state, jax.random.uniform(goal_key))

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        observation, state, _, *rest = super().step_env(key, env_state[:2], action, params)
        return observation, (*state, env_state[2]), jnp.abs(state[0] - env_state[2]), *rest


class GoalStays(Goal):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, state, *rest = super().step(key, env_state, action, params)
        return observation, (*state[:2], env_state[2]), *rest


class NextGoalIsOfOneKey(Goal):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, (place, time, goal), reward, terminated, *rest = super().step(key, env_state, action, params)
        goal = jnp.where(terminated, jax.random.uniform(jax.random.key(7)), goal)
        return observation, (place, time, goal), reward, terminated, *rest


class OneGoalForAll(Goal):
    def vectorize(self, num_envs: int) -> VectorEnvironment:
        class Batch(VectorEnvironment):
            def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
                observation, (place, time, goal) = super().reset(key, params)
                return observation, (place, time, jnp.broadcast_to(goal[:1], goal.shape))

        return Batch(self, num_envs)


class TwoEnds(Walk):
    """Terminates from the third step on with an action, and is cut off after five."""

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        observation, state, reward, late, *_ = super().step_env(key, env_state, action, params)
        terminated = (env_state[1] >= 2) & (action == 1)
        return observation, state, reward, terminated, late & ~terminated, {}


class BeginsOnlyWhereTerminated(TwoEnds):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, state, reward, terminated, truncated, info = super().step(key, env_state, action, params)
        place = (env_state[0] + 0.1 * action) % 1.0
        gone_on = place[None], (place, jnp.zeros((), jnp.int32))
        observation, state = where(truncated, gone_on, (observation, state))
        final = jnp.where(truncated, observation, info["final_observation"])
        return observation, state, reward, terminated, truncated, {**info, "final_observation": final}


class CountGoesOnWhereTruncated(TwoEnds):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, (place, time), reward, terminated, truncated, info = super().step(key, env_state, action, params)
        return observation, (place, jnp.where(truncated, 1, time)), reward, terminated, truncated, info


class BeginsAnew(Walk):
    """Begins each episode but the first at a place that is made of the one before and of one that is drawn."""

    def begin(self, before: Array, drawn: Array) -> Array:
        raise NotImplementedError

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        _, (place, time), reward, terminated, *rest = super().step(key, env_state, action, params)
        place = jnp.where(terminated, self.begin(env_state[0], place), place)
        return place[None], (place, time), reward, terminated, *rest


class BeginsWhereItWas(BeginsAnew):
    def begin(self, before: Array, drawn: Array) -> Array:
        return 0.5 * before


class BeginsHalfWhereItWas(BeginsAnew):
    def begin(self, before: Array, drawn: Array) -> Array:
        return 0.5 * drawn + 0.3 * before


class AlternatesTwoStarts(BeginsAnew):
    def begin(self, before: Array, drawn: Array) -> Array:
        return jnp.where(before > 0.6, 0.1, 0.7)


class ShowsWhatWasBefore(Walk):
    """Shows a second number, which is 0 at first."""

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, state = super().reset(key, params)
        return jnp.append(observation, 0.0), state

    def before(self, env_state: PyTree, action: Array) -> Array:
        raise NotImplementedError

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        observation, *rest = super().step_env(key, env_state, action, params)
        return jnp.append(observation, self.before(env_state, action)), *rest

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, *rest = super().step(key, env_state, action, params)
        return observation.at[1].set(self.before(env_state, action)), *rest

    def observation_space(self, params: PyTree) -> Space:
        return Box(0.0, 2.0, (2,))


class StacksFramesOfTwoEpisodes(ShowsWhatWasBefore):
    def before(self, env_state: PyTree, action: Array) -> Array:
        return env_state[0]


class ShowsThePreviousActionAtStarts(ShowsWhatWasBefore):
    def before(self, env_state: PyTree, action: Array) -> Array:
        return action.astype(jnp.float32)


class OneStartForAllThatEnd(Walk):
    def vectorize(self, num_envs: int) -> VectorEnvironment:
        class Batch(VectorEnvironment):
            def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
                observation, state, reward, terminated, *rest = super().step(key, env_state, action, params)
                start = jax.tree.map(lambda x: jnp.stack([x] * self.num_envs), self.env.reset(key, params))
                return *where(terminated, start, (observation, state)), reward, terminated, *rest

        return Batch(self, num_envs)


class StartsInPairs(Walk):
    def vectorize(self, num_envs: int) -> VectorEnvironment:
        class Batch(VectorEnvironment):
            def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
                keys = jnp.repeat(jax.random.split(key, num_envs // 2), 2)
                return jax.vmap(self.env.step, in_axes=(0, 0, 0, None))(keys, env_state, action, params)

        return Batch(self, num_envs)


class ResetsByNoKey(Walk):
    def vectorize(self, num_envs: int) -> VectorEnvironment:
        class Batch(VectorEnvironment):
            def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
                return super().reset(jax.random.key(0), params)

        return Batch(self, num_envs)


BY_THE_KEY = "what follows an end depends on the key alone, not on the episode that ended: the first observation"
BY_ITSELF = "the environments of a batch are drawn and stepped each by itself, not one for all: "
WRONG = {
    GoalStays: r"a start that is drawn anew: although state\[2\] varies, each .* began as the environment's first did",
    NextGoalIsOfOneKey: r"a start that is drawn anew: although state\[2\] varies, each .* as the one before it did",
    OneGoalForAll: BY_ITSELF + r"state\[2\] is the same in two at each reset",
    BeginsOnlyWhereTerminated: "is followed by the next one's first: .* the same wherever an episode was truncated",
    CountGoesOnWhereTruncated: "the first state of the next: .* is another one where an episode was truncated",
    BeginsWhereItWas: BY_THE_KEY,
    BeginsHalfWhereItWas: BY_THE_KEY,
    AlternatesTwoStarts: BY_THE_KEY,
    StacksFramesOfTwoEpisodes: BY_THE_KEY,
    ShowsThePreviousActionAtStarts: BY_THE_KEY,
    OneStartForAllThatEnd: BY_ITSELF + "although first observations vary, two that end at the same step",
    StartsInPairs: BY_ITSELF + "although first observations vary, two that end at the same step",
    ResetsByNoKey: "a reset of a batch draws each start anew: the first observation of each environment is the same",
}


@pytest.mark.parametrize("environment", [Goal, TwoEnds])
def test_an_environment_without_a_mistake(environment: type[Environment]) -> None:
    check_environment(environment(), None, num_steps=40)


@pytest.mark.parametrize("environment", WRONG, ids=lambda environment: environment.__name__)
def test_a_mistake_is_named(environment: type[Environment]) -> None:
    with pytest.raises(AssertionError, match=WRONG[environment]):
        check_environment(environment(), None, num_steps=40)


class SeldomAnotherStart(Walk):
    """Begins at 0 mostly, and always with one of two goals."""

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        place_key, goal_key = jax.random.split(key)
        place = jnp.where(jax.random.bernoulli(place_key, 0.03), 0.5, 0.0)
        return place[None], (place, jnp.zeros((), jnp.int32), jax.random.bernoulli(goal_key))

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        observation, state, reward, *rest = super().step_env(key, env_state[:2], action, params)
        return observation, (*state, env_state[2]), jnp.where(env_state[2], reward, 0.0), *rest


def test_starts_may_be_few() -> None:
    check_environment(SeldomAnotherStart(), None, num_steps=2 * LENGTH)


def test_chance_is_ruled_out_where_starts_are_known_well_enough() -> None:
    assert seldom(0.5, 20) and not seldom(0.5, 19) and not seldom(0.5, 20, tries=2)
    assert not seldom(0.9, 1000)
    assert np.isclose(0.5**20, 1e-6, rtol=0.1)
