"""The base class of wrappers that change observations, actions, rewards or ends of episodes."""

from __future__ import annotations

from typing import Any

import jax
from flax import struct

from memorax.environments.environment import StepResult, VectorEnvironment
from memorax.environments.spaces import Space
from memorax.environments.wrappers.parts import put_spaces_together, put_together, take_apart, take_space_apart
from memorax.environments.wrappers.wrapper import Wrapper
from memorax.types import Array, Key, PyTree, where


class TransformState(struct.PyTreeNode):
    """The state of a transformed environment.

    Attributes:
        env_state: state of the wrapped environment.
        memory: state of the transform, kept during an episode.
    """

    env_state: PyTree
    memory: PyTree


class Transform(Wrapper):
    """A wrapper that changes observations, actions or rewards, and never when an episode begins or ends.

    A member overrides `show` if all it does is to change each observation by itself; otherwise any of `begin`, `act`,
    `observe` and `reward`; and `seen_space` or `action_space` where it changes a space. All but `reward` see one
    environment. They serve one environment and a batch, whatever steps that, so that a transform fits around every
    environment.

    Masks of legal actions and the global state, parts of a dictionary observation, pass by: observations that a member
    is given and returns are without them.
    """

    def show(self, key: Key, observation: PyTree, params: PyTree) -> PyTree:
        """What is seen of an observation."""
        return observation

    def begin(self, key: Key, observation: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        """What is seen of an episode's first observation, and what to keep: `(observation, memory)`."""
        return self.show(key, observation, params), ()

    def act(self, key: Key, memory: PyTree, action: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        """What the environment is given for the agent's action, and what to keep: `(action, memory)`."""
        return action, memory

    def observe(
        self, key: Key, memory: PyTree, action: PyTree, reward: Array, observation: PyTree, params: PyTree
    ) -> tuple[PyTree, PyTree]:
        """What is seen after a step, and what to keep: `(observation, memory)`.

        Args:
            key: random key.
            memory: memory returned by `act`.
            action: action of the agent.
            reward: reward of the wrapped environment.
            observation: observation after the step, before any reset.
            params: the environment's parameters.
        """
        return self.show(key, observation, params), memory

    def reward(self, reward: Array, info: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        """The reward to learn from, `[]` or `[B]`, and the `info` that goes with it."""
        return reward, info

    def seen_space(self, space: Space, params: PyTree) -> Space:
        """The space of what is seen, given that of what is observed."""
        return space

    def keep(self, parts: dict[str, PyTree]) -> dict[str, PyTree]:
        """The parts of an observation that pass by."""
        return parts

    def kept_spaces(self, spaces: dict[str, Space]) -> dict[str, Space]:
        """The spaces of what `keep` returns."""
        return spaces

    def observation_space(self, params: PyTree) -> Space:
        own, kept = take_space_apart(self.env.observation_space(params))
        return put_spaces_together(self.seen_space(own, params), self.kept_spaces(kept))

    def begin_whole(self, key: Key, observation: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        """`begin`, with the parts that pass by."""
        own, kept = take_apart(observation)
        seen, memory = self.begin(key, own, params)
        return put_together(seen, self.keep(kept)), memory

    def observe_whole(
        self, key: Key, memory: PyTree, action: PyTree, reward: Array, observation: PyTree, params: PyTree
    ) -> tuple[PyTree, PyTree]:
        """`observe`, with the parts that pass by."""
        own, kept = take_apart(observation)
        seen, memory = self.observe(key, memory, action, reward, own, params)
        return put_together(seen, self.keep(kept)), memory

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, TransformState]:
        env_key, key = jax.random.split(key)
        observation, env_state = self.env.reset(env_key, params)
        observation, memory = self.begin_whole(key, observation, params)
        return observation, TransformState(env_state=env_state, memory=memory)

    def step_env(self, key: Key, env_state: TransformState, action: PyTree, params: PyTree) -> StepResult:
        env_key, act_key, observe_key = jax.random.split(key, 3)
        env_action, memory = self.act(act_key, env_state.memory, action, params)
        observation, inner, reward, terminated, truncated, info = self.env.step_env(
            env_key, env_state.env_state, env_action, params
        )
        observation, memory = self.observe_whole(observe_key, memory, action, reward, observation, params)
        reward, info = self.reward(reward, info)
        return observation, TransformState(env_state=inner, memory=memory), reward, terminated, truncated, info

    def vectorize(self, num_envs: int) -> VectorEnvironment:
        return TransformedVectorEnvironment(self, self.env.vectorize(num_envs))

    def inner_state(self, env_state: TransformState) -> PyTree:
        return env_state.env_state


class TransformedVectorEnvironment(VectorEnvironment):
    """A batch of environments seen through a transform.

    Attributes:
        env: the transform.
        inner: the batch inside, which resets its environments as it does.
    """

    env: Transform

    def __init__(self, env: Transform, inner: VectorEnvironment) -> None:
        super().__init__(env, inner.num_envs)
        self.inner = inner

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, TransformState]:
        inner_key, key = jax.random.split(key)
        observation, env_state = self.inner.reset(inner_key, params)
        observation, memory = self._begin(key, observation, params)
        return observation, TransformState(env_state=env_state, memory=memory)

    def step(self, key: Key, env_state: TransformState, action: PyTree, params: PyTree) -> StepResult:
        inner_key, act_key, observe_key, begin_key = jax.random.split(key, 4)
        env_action, memory = jax.vmap(self.env.act, in_axes=(0, 0, 0, None))(
            self._keys(act_key), env_state.memory, action, params
        )
        first, inner, reward, terminated, truncated, info = self.inner.step(
            inner_key, env_state.env_state, env_action, params
        )
        final_observation, memory = jax.vmap(self.env.observe_whole, in_axes=(0, 0, 0, 0, 0, None))(
            self._keys(observe_key), memory, action, reward, info["final_observation"], params
        )
        observation, memory = where(
            terminated | truncated, self._begin(begin_key, first, params), (final_observation, memory)
        )
        reward, info = self.env.reward(reward, info)
        state = TransformState(env_state=inner, memory=memory)
        return observation, state, reward, terminated, truncated, {**info, "final_observation": final_observation}

    def frozen(self, env_state: TransformState) -> VectorEnvironment:
        return TransformedVectorEnvironment(self.env, self.inner.frozen(env_state.env_state))

    def _begin(self, key: Key, observation: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        return jax.vmap(self.env.begin_whole, in_axes=(0, 0, None))(self._keys(key), observation, params)

    def _keys(self, key: Key) -> Key:
        return jax.random.split(key, self.batch_size)
