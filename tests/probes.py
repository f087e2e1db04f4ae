"""Tiny environments whose values and best returns are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from memorax.environments.environment import Environment
from memorax.environments.multi_agent import MultiAgentEnvironment
from memorax.environments.spaces import Box, Dict, Discrete, Space, action_mask_space
from memorax.types import Array, Key, PyTree

NO = jnp.asarray(False)


@dataclass(frozen=True)
class Probe(Environment):
    """Scalar observations; state `(time, cue)`; subclasses say what a step shows, pays and ends."""

    num_actions: int = 2

    def reset(self, key: Key, params: PyTree) -> tuple[Array, PyTree]:
        state = (jnp.zeros((), jnp.int32), jnp.where(jax.random.bernoulli(key), 1.0, -1.0), jnp.zeros((), jnp.int32))
        return self.observe(*state), state

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        time, cue, previous = env_state
        reward, terminated, truncated = self.outcome(time, cue, previous, action)
        state = (time + 1, cue, jnp.asarray(action, jnp.int32))
        return self.observe(*state), state, jnp.asarray(reward, jnp.float32), terminated, truncated, {}

    def observe(self, time: Array, cue: Array, previous: Array) -> Array:
        return jnp.ones((1,))

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        raise NotImplementedError

    def observation_space(self, params: PyTree) -> Space:
        return Box(-1.0, 1.0, (1,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(self.num_actions)


class ConstantValue(Probe):
    """One step, reward 1: the value is 1."""

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        return jnp.ones(()), ~NO, NO


class ObservationValue(Probe):
    """One step whose reward is the observation: the value is the observation."""

    def observe(self, time: Array, cue: Array, previous: Array) -> Array:
        return cue[None]

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        return cue, ~NO, NO


class Discounting(Probe):
    """Two steps, reward 1 at the end: the values are gamma and 1."""

    def observe(self, time: Array, cue: Array, previous: Array) -> Array:
        return time.astype(jnp.float32)[None]

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        return (time == 1).astype(jnp.float32), time == 1, NO


class ActionMatters(Probe):
    """One step, the reward is the action: the best return is 1."""

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        return action.astype(jnp.float32), ~NO, NO


class ActionTimesObservation(Probe):
    """One step, reward 1 where the action agrees with the observation and -1 elsewhere: the best return is 1."""

    def observe(self, time: Array, cue: Array, previous: Array) -> Array:
        return cue[None]

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        return jnp.where(action == (cue > 0), 1.0, -1.0), ~NO, NO


@dataclass(frozen=True)
class CueRecall(Probe):
    """A cue at the first step, asked for `delay` steps later: with a memory the best return is 1, without one 0."""

    delay: int = 4

    def observe(self, time: Array, cue: Array, previous: Array) -> Array:
        return jnp.where(time == 0, cue, 0.0)[None]

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        asked = time == self.delay
        return jnp.where(asked, jnp.where(action == (cue > 0), 1.0, -1.0), 0.0), asked, NO


@dataclass(frozen=True)
class PreviousActionNeeded(Probe):
    """Reward 1 for another action than the one before, -1 for the same: only who knows its last action gets 8."""

    length: int = 8

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        changed = (action != previous) | (time == 0)
        return jnp.where(changed, 1.0, -1.0), time == self.length - 1, NO


@dataclass(frozen=True)
class EndlessReward(Probe):
    """Reward 1 for ever, cut off by a time limit: the value is 1 / (1 - gamma)."""

    limit: int = 5

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        return jnp.ones(()), NO, time == self.limit - 1


@dataclass(frozen=True)
class TwoLengths(Probe):
    """Reward 1 for one step or for nine, as the cue has it: the mean return is 5."""

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        return jnp.ones(()), time == jnp.where(cue > 0, 8, 0), NO


class TwoEpisodes(Probe):
    """Episodes of two steps back to back: a cue, then its sign as reward. With a memory the values are gamma x cue and
    cue whatever the episode before showed; a memory that leaks or is cut one step off gets them wrong.
    """

    def observe(self, time: Array, cue: Array, previous: Array) -> Array:
        return jnp.where(time == 0, cue, 0.0)[None]

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        return jnp.where(time == 1, cue, 0.0), time == 1, NO


@dataclass(frozen=True)
class ContinuousTarget(Probe):
    """At each step reward minus the squared distance of the action to half the observation: the best return is 0."""

    length: int = 1

    def observe(self, time: Array, cue: Array, previous: Array) -> Array:
        return cue[None]

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        time, cue, previous = env_state
        reward = -jnp.square(action[0] - 0.5 * cue)
        state = (time + 1, cue, previous)
        return self.observe(*state), state, reward, time == self.length - 1, NO, {}

    def action_space(self, params: PyTree) -> Space:
        return Box(-1.0, 1.0, (1,))


@dataclass(frozen=True)
class MaskedActions(Probe):
    """At step `t` the actions that are as odd as `t` are legal, and the least of them pays 1: the best return is 6.

    An illegal action ends the episode with -1. With two actions there is only one legal action at each step.
    """

    num_actions: int = 4
    length: int = 6

    def observe(self, time: Array, cue: Array, previous: Array) -> Any:
        legal = jnp.arange(self.num_actions) % 2 == time % 2
        return {"observation": jnp.ones((1,)), "action_mask": legal}

    def outcome(self, time: Array, cue: Array, previous: Array, action: Array) -> tuple[Array, Array, Array]:
        legal = action % 2 == time % 2
        reward = jnp.where(legal, jnp.where(action == time % 2, 1.0, 0.0), -1.0)
        return reward, ~legal | (time == self.length - 1), NO

    def observation_space(self, params: PyTree) -> Space:
        return Dict({"observation": Box(-1.0, 1.0, (1,)), "action_mask": action_mask_space(self.action_space(params))})


@dataclass(frozen=True)
class OneOf(Probe):
    """The member that the environment's parameters number: mapped over numbers, one program learns all members."""

    members: tuple[Probe, ...] = ()

    def reset(self, key: Key, params: PyTree) -> tuple[Array, PyTree]:
        return jax.lax.switch(
            params, [lambda key, member=member: member.reset(key, None) for member in self.members], key
        )

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        steps = [lambda *step, member=member: member.step_env(*step, None) for member in self.members]
        return jax.lax.switch(params, steps, key, env_state, action)


@dataclass(frozen=True)
class OthersCue(MultiAgentEnvironment):
    """Two agents, each shown the other's cue at first and asked for it `delay` steps later.

    With a memory the best return of each is 1, without one 0. The state is the time and the cue of each agent.
    """

    delay: int = 4

    @property
    def num_agents(self) -> int:
        return 2

    def reset_agents(self, key: Key, params: PyTree) -> tuple[Array, PyTree]:
        state = (jnp.zeros((), jnp.int32), jnp.where(jax.random.bernoulli(key, shape=(2,)), 1.0, -1.0))
        return self.observe(*state), state

    def step_agents(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        time, cues = env_state
        asked = time == self.delay
        reward = jnp.where(asked, jnp.where(action == (cues[::-1] > 0), 1.0, -1.0), 0.0)
        state = (time + 1, cues)
        return self.observe(*state), state, reward, jnp.full((2,), asked), asked, NO, {}

    def observe(self, time: Array, cues: Array) -> Array:
        return jnp.where(time == 0, cues[::-1], 0.0)[:, None]

    def observation_space(self, params: PyTree) -> Space:
        return Box(-1.0, 1.0, (1,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(2)


@dataclass(frozen=True)
class GoesOut(MultiAgentEnvironment):
    """Two agents are paid their action for four steps, but the first goes out with the second step.

    The best return is 2 for the first, while it takes part, and 4 for the other. From then on the first is shown and
    paid `while_out`, which must change nothing.
    """

    while_out: float = 0.0

    @property
    def num_agents(self) -> int:
        return 2

    def reset_agents(self, key: Key, params: PyTree) -> tuple[Array, PyTree]:
        time = jnp.zeros((), jnp.int32)
        return self.observe(time), time

    def step_agents(self, key: Key, env_state: Array, action: Array, params: PyTree) -> Any:
        is_out, time = self.out(env_state), env_state + 1
        reward = jnp.where(is_out, self.while_out, action.astype(jnp.float32))
        return self.observe(time), time, reward, self.out(time), time == 4, NO, {}

    def out(self, time: Array) -> Array:
        return jnp.stack([time >= 2, NO])

    def observe(self, time: Array) -> Array:
        return jnp.where(self.out(time), self.while_out, time / 4)[:, None]

    def observation_space(self, params: PyTree) -> Space:
        return Box(-jnp.inf, jnp.inf, (1,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(2)
