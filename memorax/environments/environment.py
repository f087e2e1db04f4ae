"""The environment protocol, and how one environment becomes a batch of them."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Space
from memorax.types import Array, Key, PyTree, where

StepResult = tuple[PyTree, PyTree, Array, Array, Array, dict[str, Any]]

CANNOT_BE_DRAWN = "{} cannot be drawn: it has no method render(env_state, params) that returns a picture"


def check_step_values(name: str, step: Any) -> None:
    """Raise a `ValueError` unless what `step_env` of the environment `name` returned are six values."""
    if not isinstance(step, tuple) or len(step) != 6:
        values = "(observation, env_state, reward, terminated, truncated, info)"
        raise ValueError(f"step_env of {name} must return {values}, and not {describe_returned(step)}")


def describe_returned(values: Any) -> str:
    """What a function returned that was to return several values, for a message: how many they are, or of what type."""
    if isinstance(values, jax.Array):
        return "one array"
    return f"{len(values)} values" if isinstance(values, tuple) else type(values).__name__


class MemoryOption(NamedTuple):
    """The option of `make` that sets for how many steps something must be remembered, and its value."""

    name: str
    value: int


class Environment(abc.ABC):
    """One environment as pure functions of arrays.

    A member implements `reset`, `step_env`, the two spaces and, where it has parameters, `default_params`; one that
    can be drawn also `render`. `step` adds the auto-reset and is not overridden.
    """

    @property
    def name(self) -> str:
        """What the environment is called in messages and plots."""
        return type(self).__name__

    @property
    def default_params(self) -> PyTree:
        """The parameters `make` returns beside the environment."""
        return None

    @abc.abstractmethod
    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        """Start an episode. Returns `(observation, env_state)`."""

    @abc.abstractmethod
    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        """Take one step without any reset.

        Returns `(observation, env_state, reward, terminated, truncated, info)`; `terminated` and `truncated`
        are bool scalars, and a time limit sets `truncated` alone.
        """

    @abc.abstractmethod
    def observation_space(self, params: PyTree) -> Space:
        """The space observations lie in."""

    @abc.abstractmethod
    def action_space(self, params: PyTree) -> Space:
        """The space actions are chosen from."""

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        """Take one step and, where the episode ends, start the next.

        Returns what `step_env` returns, with `observation` and `env_state` those of the next episode where this
        one ended; `info["final_observation"]` is always the observation the action led to.
        """
        step_key, reset_key = jax.random.split(key)
        made = self.step_env(step_key, env_state, action, params)
        check_step_values(self.name, made)
        final_observation, state, reward, terminated, truncated, info = made
        terminated, truncated = jnp.asarray(terminated, bool), jnp.asarray(truncated, bool)
        fresh = self.reset(reset_key, params)
        observation, state = where(terminated | truncated, fresh, (final_observation, state))
        return observation, state, reward, terminated, truncated, {**info, "final_observation": final_observation}

    @property
    def has_agents(self) -> bool:
        """Whether observations, rewards and actions have an axis of agents, be it of length one."""
        return False

    @property
    def batch_only(self) -> bool:
        """Whether there is no `step_env` of one environment: what `vectorize` returns is the only way to step it."""
        return False

    @property
    def on_host(self) -> bool:
        """Whether it runs in Python outside compiled code: its state can be neither mapped, cloned nor saved."""
        return False

    @property
    def has_running_statistics(self) -> bool:
        """Whether what it shows or pays depends on statistics of all steps so far."""
        return False

    @property
    def num_agents(self) -> int:
        """How many agents act in one environment; each is a row of its batch."""
        return 1

    def num_fresh_states(self, num_envs: int) -> int:
        """How many first states a batch of `num_envs` draws at a step, for the environments that end to share."""
        return num_envs

    def vectorize(self, num_envs: int) -> VectorEnvironment:
        """The batch of `num_envs` copies a rollout steps."""
        num_fresh_states = self.num_fresh_states(num_envs)
        if num_fresh_states < num_envs:
            return OptimisticVectorEnvironment(self, num_envs, num_fresh_states)
        return VectorEnvironment(self, num_envs)

    def memory_option(self, params: PyTree) -> MemoryOption | None:
        """The option that sets how long the task must be remembered; None where there is none.

        Another value changes neither what is observed nor what can be done, so that an agent can be tried with it.
        """
        return None

    @property
    def renders(self) -> bool:
        """Whether it can be drawn."""
        return type(self).render is not Environment.render

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        """Draw one environment, on the host: uint8 `[H, W, 3]`.

        Args:
            env_state: the state of one environment, its leaves on the host or not.
            params: parameters of the environment.

        Raises:
            ValueError: if the environment cannot be drawn.
        """
        raise ValueError(CANNOT_BE_DRAWN.format(self.name))


class VectorEnvironment:
    """`num_envs` copies of an environment, stepped as one batch; every leaf gains a leading axis `[B]`.

    Attributes:
        env: the environment that is copied.
        num_envs: number of environments in the batch.
    """

    def __init__(self, env: Environment, num_envs: int) -> None:
        self.env = env
        self.num_envs = num_envs

    @property
    def batch_size(self) -> int:
        """Rows of every array that passes between agents and environments: one for each agent of each environment."""
        return self.num_envs * self.env.num_agents

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        """Start an episode in each environment. Returns `(observation, env_state)`."""
        keys = jax.random.split(key, self.num_envs)
        return jax.vmap(self.env.reset, in_axes=(0, None))(keys, params)

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        """Step each environment, as `Environment.step` does.

        Returns the same six values; rewards are float32 and a step that terminated is never truncated too. Where
        `info` has a `raw_reward`, that is what episode statistics count: the reward before it was changed for learning.
        """
        keys = jax.random.split(key, self.num_envs)
        return _in_our_types(jax.vmap(self.env.step, in_axes=(0, 0, 0, None))(keys, env_state, action, params))

    def frozen(self, env_state: PyTree) -> VectorEnvironment:
        """These environments as an agent is evaluated in them.

        Args:
            env_state: the environments' state in training, of any number of environments.

        Returns:
            Environments that use what those of training have learned (running statistics) and do not go on learning.
        """
        return self


class OptimisticVectorEnvironment(VectorEnvironment):
    """A batch whose environments share a few first states, for an environment that is dear to reset.

    Each step draws `num_fresh_states` first states, and only if an episode ended. The i-th environment that ended, in
    the order of the batch, starts from first state `i mod num_fresh_states`: as long as no more environments end at
    once than there are first states, each starts from its own, as with a plain reset; where more end, some start
    alike, each first state being used as often as any other but for one. The idea is that of Matthews et al., "Craftax:
    A Lightning-Fast Benchmark for Open-Ended Reinforcement Learning", 2024.

    Attributes:
        num_fresh_states: first states drawn at a step.
    """

    def __init__(self, env: Environment, num_envs: int, num_fresh_states: int) -> None:
        super().__init__(env, num_envs)
        self.num_fresh_states = num_fresh_states

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        step_key, reset_key = jax.random.split(key)
        final_observation, state, reward, terminated, truncated, info = _in_our_types(
            jax.vmap(self.env.step_env, in_axes=(0, 0, 0, None))(
                jax.random.split(step_key, self.num_envs), env_state, action, params
            )
        )
        done = terminated | truncated

        def restart() -> PyTree:
            keys = jax.random.split(reset_key, self.num_fresh_states)
            fresh = jax.vmap(self.env.reset, in_axes=(0, None))(keys, params)
            chosen = (jnp.cumsum(done) - 1) % self.num_fresh_states
            return where(done, jax.tree.map(lambda x: x[chosen], fresh), (final_observation, state))

        observation, state = jax.lax.cond(jnp.any(done), restart, lambda: (final_observation, state))
        return observation, state, reward, terminated, truncated, {**info, "final_observation": final_observation}


def _in_our_types(result: StepResult) -> StepResult:
    """A batch of steps with float32 rewards, and no step both terminated and truncated."""
    observation, env_state, reward, terminated, truncated, info = result
    terminated = jnp.asarray(terminated, bool)
    truncated = jnp.asarray(truncated, bool) & ~terminated
    return observation, env_state, jnp.asarray(reward, jnp.float32), terminated, truncated, info
