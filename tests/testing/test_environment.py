"""Environments with one mistake each: the check names the truth that does not hold."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.environment import Environment, VectorEnvironment
from memorax.environments.multi_agent import MultiAgentEnvironment, MultiAgentVectorEnvironment
from memorax.environments.spaces import Box, Discrete, Space, action_mask_space
from memorax.environments.spaces import Dict as DictSpace
from memorax.testing import check_environment
from memorax.testing.environment_ends import check_ends
from memorax.testing.environment_play import Steps
from memorax.types import Array, Key, PyTree, where

LENGTH = 5


class Walk(Environment):
    """A walk of five steps from a random place. Each environment below changes one thing."""

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        state = (jax.random.uniform(key), jnp.zeros((), jnp.int32))
        return self.observe(state), state

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        place, time = env_state
        state = (place + 0.1 * action, time + 1)
        return self.observe(state), state, place, state[1] == LENGTH, jnp.asarray(False), {}

    def observe(self, state: PyTree) -> PyTree:
        return state[0][None]

    def observation_space(self, params: PyTree) -> Space:
        return Box(0.0, 2.0, (1,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(2)


class FinalObservationIsTheNextFirst(Walk):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, *rest, info = super().step(key, env_state, action, params)
        return observation, *rest, {**info, "final_observation": observation}


class NeverResets(Walk):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, (place, time), *rest, info = self.step_env(key, env_state, action, params)
        state = (place % 1.0, time % LENGTH)
        observation = self.observe(state)
        return observation, state, *rest, {**info, "final_observation": observation}


class StartsAtZeroAndNeverResets(NeverResets):
    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        state = (jnp.zeros(()), jnp.zeros((), jnp.int32))
        return self.observe(state), state


class FinalObservationIsTheLast(Walk):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, *rest, info = super().step(key, env_state, action, params)
        return observation, *rest, {**info, "final_observation": self.observe(env_state)}


class OneDrawForAll(Walk):
    def vectorize(self, num_envs: int) -> VectorEnvironment:
        class Batch(VectorEnvironment):
            def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
                return jax.vmap(lambda _: self.env.reset(key, params))(jnp.arange(num_envs))

        return Batch(self, num_envs)


class OneForAll(StartsAtZeroAndNeverResets):
    """Always at the same start, so that only what follows tells."""

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        return Environment.step(self, key, env_state, action, params)

    def vectorize(self, num_envs: int) -> VectorEnvironment:
        class Batch(VectorEnvironment):
            def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
                return super().step(key, env_state, jnp.broadcast_to(action[:1], action.shape), params)

        return Batch(self, num_envs)


class DrawnInPairs(Walk):
    def vectorize(self, num_envs: int) -> VectorEnvironment:
        class Batch(VectorEnvironment):
            def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
                keys = jnp.repeat(jax.random.split(key, num_envs // 2), 2)
                return jax.vmap(self.env.reset, in_axes=(0, None))(keys, params)

        return Batch(self, num_envs)


class NextStartIsOfOneKey(Walk):
    def next_start(self, before: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        return self.reset(jax.random.key(0), params)

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, state, reward, terminated, truncated, info = super().step(key, env_state, action, params)
        begun = where(terminated, self.next_start(env_state, params), (observation, state))
        return *begun, reward, terminated, truncated, info


class BeginsAsItsFirstEpisodeDid(NextStartIsOfOneKey):
    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, (place, time) = super().reset(key, params)
        return observation, (place, time, place)

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        observation, state, *rest = super().step_env(key, env_state[:2], action, params)
        return observation, (*state, env_state[2]), *rest

    def next_start(self, before: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        state = (before[2], jnp.zeros((), jnp.int32), before[2])
        return self.observe(state), state


class NeverEnds(Walk):
    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        return super().step_env(key, (env_state[0] % 1.0, jnp.zeros((), jnp.int32)), action, params)


class LeavesItsSpace(Walk):
    def observation_space(self, params: PyTree) -> Space:
        return Box(0.0, 1.2, (1,))


class ObservesInAnotherType(Walk):
    def observation_space(self, params: PyTree) -> Space:
        return Box(0, 2, (1,), jnp.int32)


class BothTerminatesAndRunsOutOfTime(Walk):
    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        *rest, terminated, _, info = super().step_env(key, env_state, action, params)
        return *rest, terminated, terminated, info


class DrawsWithoutTheKey(Walk):
    """A number of NumPy's is drawn once for a program, when it is traced."""

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        place, time = env_state
        return super().step_env(key, (place, time), action * np.random.default_rng().random(), params)


class RandomSteps(Walk):
    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        return super().step_env(key, env_state, action * jax.random.uniform(key), params)


class OneKeyForAllSteps(RandomSteps):
    def vectorize(self, num_envs: int) -> VectorEnvironment:
        class Batch(VectorEnvironment):
            def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
                return jax.vmap(self.env.step, in_axes=(None, 0, 0, None))(key, env_state, action, params)

        return Batch(self, num_envs)


class BeginsAtItsThirdStep(Walk):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, (place, time), *rest = super().step(key, env_state, action, params)
        return observation, (place, jnp.where(time == 0, 2, time)), *rest


class FinalObservationIsZero(Walk):
    """Where an episode ends, as the next two."""

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        *rest, terminated, truncated, info = super().step(key, env_state, action, params)
        final = info["final_observation"]
        final = jnp.where(terminated, self.instead(env_state, final), final)
        return *rest, terminated, truncated, {**info, "final_observation": final}

    def instead(self, env_state: PyTree, final: Array) -> Array:
        return jnp.zeros_like(final)


class FinalObservationIsOneStepOld(FinalObservationIsZero):
    def instead(self, env_state: PyTree, final: Array) -> Array:
        return self.observe(env_state)


class InOtherRows(Walk):
    """A batch which mistakes rows for others in what it is given or returns."""

    def vectorize(self, num_envs: int) -> VectorEnvironment:
        mistake = self.mistake

        class Batch(VectorEnvironment):
            def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
                return mistake(key, super().step, env_state, action, params)

        return Batch(self, num_envs)

    def mistake(self, key: Key, step: Any, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        raise NotImplementedError


class ActionOfAnother(InOtherRows):
    def mistake(self, key: Key, step: Any, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        return step(key, env_state, jnp.roll(action, 1, axis=0), params)


class RewardOfAnother(InOtherRows):
    def mistake(self, key: Key, step: Any, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, state, reward, *rest = step(key, env_state, action, params)
        return observation, state, jnp.roll(reward, 1), *rest


class FinalObservationOfAnother(InOtherRows):
    def mistake(self, key: Key, step: Any, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        *rest, terminated, truncated, info = step(key, env_state, action, params)
        final = info["final_observation"]
        final = where(terminated, jnp.roll(final, 1, axis=0), final)
        return *rest, terminated, truncated, {**info, "final_observation": final}


class OneEndResetsAll(InOtherRows):
    """Its environments begin at several times."""

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, (place, _) = super().reset(key, params)
        return observation, (place, jax.random.randint(key, (), 0, LENGTH))

    def mistake(self, key: Key, step: Any, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        observation, state, reward, terminated, truncated, info = step(key, env_state, action, params)
        fresh = VectorEnvironment(self, len(terminated)).reset(key, params)
        every = jnp.broadcast_to(terminated.any(), terminated.shape)
        observation, state = where(every, fresh, (observation, state))
        final = where(terminated, info["final_observation"], observation)
        return observation, state, reward, terminated, truncated, {**info, "final_observation": final}


class TwoWalks(MultiAgentEnvironment):
    """Two agents side by side."""

    @property
    def num_agents(self) -> int:
        return 2

    def reset_agents(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        places = jax.random.uniform(key, (2,))
        return places[:, None], (places, jnp.zeros((), jnp.int32))

    def step_agents(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        places, time = env_state[0] + 0.1 * action, env_state[1] + 1
        none = jnp.zeros((2,), bool)
        return places[:, None], (places, time), env_state[0], none, time == LENGTH, jnp.asarray(False), {}

    def observation_space(self, params: PyTree) -> Space:
        return Box(0.0, 2.0, (1,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(2)


class ActionsAgentByAgent(TwoWalks):
    """Takes the actions of the first agents of all environments first."""

    def vectorize(self, num_envs: int) -> MultiAgentVectorEnvironment:
        class Batch(MultiAgentVectorEnvironment):
            def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
                return super().step(key, env_state, action.reshape(2, num_envs).T.reshape(-1), params)

        return Batch(self, num_envs)


class SeesInfinity(Walk):
    def observe(self, state: PyTree) -> PyTree:
        return jnp.where(state[0] > 0.9, jnp.inf, state[0])[None]

    def observation_space(self, params: PyTree) -> Space:
        return Box(-jnp.inf, jnp.inf, (1,))


class PaysNaN(Walk):
    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        observation, state, _, *rest = super().step_env(key, env_state, action, params)
        return observation, state, jnp.log(env_state[0] - 2.0), *rest


WRONG = {
    FinalObservationIsTheNextFirst: "an episode ends with its own final observation",
    NeverResets: "an episode ends with its own final observation and is followed by the next one's first",
    StartsAtZeroAndNeverResets: "an episode that ended is followed by the first observation of the next",
    FinalObservationIsTheLast: "the final observation is the next one while an episode goes on",
    OneDrawForAll: "the environments of a batch are drawn and stepped each by itself",
    DrawnInPairs: "the environments of a batch are drawn and stepped each by itself",
    NextStartIsOfOneKey: "a start that is drawn anew: .* began as the one before it did",
    BeginsAsItsFirstEpisodeDid: "a start that is drawn anew: .* began as the environment's first did",
    OneForAll: "the environments of a batch are drawn and stepped each by itself",
    NeverEnds: r"an episode of NeverEnds ends within num_steps \(40\) .* pass more num_steps",
    LeavesItsSpace: "observations and final observations lie in the observation space",
    ObservesInAnotherType: "observations have the space's shape and type",
    BothTerminatesAndRunsOutOfTime: "what a time limit cuts off is not terminated, as all is that is truncated here",
    DrawsWithoutTheKey: "the same key gives the same play",
    OneKeyForAllSteps: "the environments of a batch are drawn and stepped each by itself",
    BeginsAtItsThirdStep: "an episode that ended is followed by the first state of the next",
    FinalObservationIsZero: "the final observation of a step, at an end too, is what step_env .* observes",
    FinalObservationIsOneStepOld: "the final observation of a step, at an end too, is what step_env .* observes",
    FinalObservationOfAnother: "the final observation of a step, .* is what step_env of the same environment observes",
    OneEndResetsAll: "the final observation of a step, .* is what step_env of the same environment observes",
    RewardOfAnother: "the reward of a step is what step_env of the same environment returns",
    ActionOfAnother: "each environment of a batch is stepped by its own action",
    ActionsAgentByAgent: "stepped by its own action, and that of each agent is its own",
    SeesInfinity: "observations and final observations are finite",
    PaysNaN: "rewards are finite scalars",
}


@pytest.mark.parametrize("environment", [Walk, RandomSteps, TwoWalks])
def test_an_environment_without_a_mistake(environment: type[Environment]) -> None:
    check_environment(environment(), None, num_steps=40)


@pytest.mark.parametrize("environment", WRONG, ids=lambda environment: environment.__name__)
def test_a_mistake_is_named(environment: type[Environment]) -> None:
    with pytest.raises(AssertionError, match=WRONG[environment]):
        check_environment(environment(), None, num_steps=40)


class PaysNaNForIllegalActions(Walk):
    """One of two actions is legal, at each step the other one."""

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        observation, state, reward, *rest = super().step_env(key, env_state, action, params)
        return observation, state, jnp.where(action == env_state[1] % 2, reward, jnp.nan), *rest

    def observe(self, state: PyTree) -> PyTree:
        return {"observation": super().observe(state), "action_mask": jnp.arange(2) == state[1] % 2}

    def observation_space(self, params: PyTree) -> Space:
        mask = action_mask_space(self.action_space(params))
        return DictSpace({"observation": super().observation_space(params), "action_mask": mask})


def test_only_legal_actions_are_played() -> None:
    check_environment(PaysNaNForIllegalActions(), None, num_steps=40)


class StartsSeldomVary(Walk):
    """Nothing is seen at most starts."""

    def observe(self, state: PyTree) -> PyTree:
        place, time = state
        return jnp.where((time == 0) & (place < 0.95), 0.0, super().observe(state))


def test_a_start_that_was_not_drawn_before() -> None:
    check_environment(StartsSeldomVary(), None, num_steps=40)


def test_ends_that_look_like_starts_by_chance() -> None:
    blank, never = np.zeros((24, 1, 1)), np.zeros((24, 1), bool)
    ended = np.arange(24)[:, None] % 2 == 1
    steps = Steps(observation=blank, final_observation=blank, reward=never, terminated=ended, truncated=never)
    starts = np.zeros((16, 4, 1))
    starts[3, 2] = 1.0  # one of 64 differs
    check_ends(Walk(), steps, starts, num_steps=24)
    starts[:8] = 1.0
    with pytest.raises(AssertionError, match="the two are the same wherever an episode ended"):
        check_ends(Walk(), steps, starts, num_steps=24)


class WithoutInfo(Walk):
    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        return (*super().step_env(key, env_state, action, params)[:5], None)


class WithoutState(Walk):
    def reset(self, key: Key, params: PyTree) -> Any:
        return super().reset(key, params)[0]


class AsksWhileTracing(Walk):
    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        if action == 1:
            env_state = (env_state[0], env_state[1] + 1)
        return super().step_env(key, env_state, action, params)


class WithoutFinalObservation(Walk):
    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        *rest, info = super().step(key, env_state, action, params)
        return *rest, {name: value for name, value in info.items() if name != "final_observation"}


class EndsAgentByAgent(TwoWalks):
    def step_agents(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> Any:
        *rest, terminated, truncated, info = super().step_agents(key, env_state, action, params)
        return *rest, jnp.stack([terminated, terminated]), truncated, info


class WithForeignActions(Walk):
    def action_space(self, params: PyTree) -> Any:
        return gymnasium.spaces.Discrete(2)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (WithoutInfo(), "the last value that step_env of WithoutInfo returns must be a dictionary, not None"),
        (WithoutFinalObservation(), "step of WithoutFinalObservation must report info['final_observation'], the"),
        (
            EndsAgentByAgent(),
            "terminated of EndsAgentByAgent must be a single number, as an episode ends for all agents together, not",
        ),
        (WithoutState(), "reset of WithoutState must return (observation, env_state), and not"),
        (AsksWhileTracing(), f"AsksWhileTracing cannot be compiled: {__file__}:"),
        (
            WithForeignActions(),
            "the action space of WithForeignActions (gymnasium.spaces.discrete.Discrete) must be one",
        ),
        (Walk, "env (the class Walk) must be an environment"),
    ],
)
def test_what_is_of_another_kind_is_told_in_a_line(env: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        check_environment(env, None, num_steps=8)
