"""Environments of the `jaxmarl` package: several agents in one environment.

Rutherford et al., "JaxMARL: Multi-Agent RL Environments and Algorithms in JAX", 2024.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from typing import Any

import jax
import jax.numpy as jnp

from memorax.environments.adaptation import (
    NO_TIME_LIMIT,
    as_written,
    cast,
    convert_space,
    like,
    positive,
    raw_key,
    strong,
)
from memorax.environments.environment import Environment
from memorax.environments.multi_agent import AgentsStepResult, MultiAgentEnvironment
from memorax.environments.options import check_options, constructor_options
from memorax.environments.spaces import Box, Dict, Discrete, Space, action_mask_space
from memorax.types import Array, Key, PyTree

# The package reports on its optional parts as it is imported.
with contextlib.redirect_stdout(io.StringIO()):
    import jaxmarl
    from jaxmarl.registration import registered_envs

OUT_OF_REACH = ("LearnedPolicyEnemySMAX", "storm")
"""One is made with a trained policy; the other does not observe by the names of its agents."""

LEGAL_ACTIONS = {"SMAX": "get_avail_actions", "HeuristicEnemySMAX": "get_avail_actions", "hanabi": "get_legal_moves"}
"""Environments in which not every action is legal at every time, and their method that says which are."""

WORLD_STATES = ("SMAX", "HeuristicEnemySMAX", "jaxnav")
"""Environments with a vector that says all there is to know; jaxnav has one for each agent."""

FIXED_LENGTH = ("coin_game", "storm_2p", "storm_np")
"""Environments whose episodes end after `num_outer_steps` rounds of `num_inner_steps` and by nothing else."""

MULTI_AGENT_BRAX = ("ant_4x2", "halfcheetah_6x1", "hopper_3x1", "humanoid_9|8", "walker2d_2x3")


def ids() -> list[str]:
    """The names `make` knows: those of jaxmarl that need nothing beside it."""
    left_out = (*MULTI_AGENT_BRAX, *OUT_OF_REACH)
    return [id for id in registered_envs if not id.startswith("JaxRobotarium") and id not in left_out]


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `kwargs` are arguments of its constructor (`num_agents`, `max_steps`, ...).

    Raises:
        ValueError: if there is no such argument, it is not valid, or the agents are of different kinds.
    """
    name = f"jaxmarl::{id}"
    with as_written():
        env = jaxmarl.make(id)
        # Constructors pass what they do not know to that of their base class, or of the environment inside.
        classes = [*type(env).__mro__, type(vars(env).get("_env", env))]
        check_options(name, kwargs, sorted({option for part in classes for option in constructor_options(part)}))
        if "max_steps" in kwargs:
            kwargs["max_steps"] = positive(name, "max_steps", kwargs["max_steps"])
        if kwargs:
            env = jaxmarl.make(id, **kwargs)
    return JaxMARLEnvironment(env, id), None


class JaxMARLEnvironment(MultiAgentEnvironment):
    """A JaxMARL environment under our protocol.

    Where the environment says which actions are legal (Hanabi, SMAX), the observation is a dictionary of `observation`
    and `action_mask`.

    Args:
        env: the environment; its auto-reset is not used.
        name: id of the environment.

    Raises:
        ValueError: if its agents are of different kinds.
    """

    def __init__(self, env: Any, name: str) -> None:
        self.env = env
        self._name = name
        self._endless = _without_time_limit(env)
        self._action_space = self._common_space("action", env.action_space)
        self._own_space = self._common_space("observation", env.observation_space)
        if isinstance(self._own_space, Box):
            # Overcooked declares its axes in another order than it returns them.
            with as_written():
                seen = jax.eval_shape(lambda key: self._own_observation(env.reset(key)[0]), raw_key(jax.random.key(0)))
            self._own_space = dataclasses.replace(self._own_space, shape=seen.shape[1:])
        # Continuous actions, an option of SMAX, are all legal.
        self._masks = name in LEGAL_ACTIONS and isinstance(self._action_space, Discrete)

    @property
    def name(self) -> str:
        return self._name

    @property
    def num_agents(self) -> int:
        return len(self.env.agents)

    def reset_agents(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        with as_written():
            observation, state = self.env.reset(raw_key(key))
        return self._observe(observation, state), strong(state)

    def step_agents(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> AgentsStepResult:
        actions = {agent: action[i] for i, agent in enumerate(self.env.agents)}
        with as_written():
            observation, state, reward, done, _ = self.env.step_env(raw_key(key), env_state, actions)
            ended = jnp.asarray(done["__all__"], bool)
            if self._name in FIXED_LENGTH:
                by_themselves = {"__all__": jnp.zeros((), bool)}
            else:
                # At a limit all agents are done, whether or not they went out.
                by_themselves = self._endless.step_env(raw_key(key), env_state, actions)[3]
            terminated = jnp.asarray(by_themselves["__all__"], bool)
        rewards = jnp.stack([jnp.asarray(reward[agent], jnp.float32).reshape(()) for agent in self.env.agents])
        # Some say of the episode alone whether it is over, not of each agent.
        out = jnp.stack(
            [jnp.asarray(by_themselves.get(agent, terminated), bool).reshape(()) for agent in self.env.agents]
        )
        after = like(env_state, state)
        return self._observe(observation, after), after, rewards, out, terminated, ended & ~terminated, {}

    def global_state(self, env_state: PyTree) -> Array | None:
        if self._name not in WORLD_STATES:
            return None
        with as_written():
            state = jnp.asarray(self.env.get_world_state(env_state), jnp.float32)
        return jnp.broadcast_to(state, (self.num_agents, state.shape[-1]))

    def observation_space(self, params: PyTree) -> Space:
        if not self._masks:
            return self._own_space
        return Dict({"observation": self._own_space, "action_mask": action_mask_space(self._action_space)})

    def action_space(self, params: PyTree) -> Space:
        return self._action_space

    def _observe(self, observation: dict[str, Array], state: PyTree) -> PyTree:
        """What each agent sees, leaves `[A, ...]`."""
        own = self._own_observation(observation)
        if not self._masks:
            return own
        with as_written():
            legal = getattr(self.env, LEGAL_ACTIONS[self._name])(state)
        return {"observation": own, "action_mask": jnp.stack([jnp.asarray(legal[a], bool) for a in self.env.agents])}

    def _own_observation(self, observation: dict[str, Array]) -> PyTree:
        """What the package says that each agent sees; what is seen by no agent, as a world state, is left out."""
        each = [cast(self._own_space, observation[agent]) for agent in self.env.agents]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    def _common_space(self, kind: str, space_of: Any) -> Space:
        spaces = [_convert(space_of, agent, self._name) for agent in self.env.agents]
        shapes = [jax.eval_shape(space.sample, jax.random.key(0)) for space in spaces]
        if any(
            repr(space) != repr(spaces[0]) or shape != shapes[0] for space, shape in zip(spaces, shapes, strict=True)
        ):
            kinds = ", ".join(
                f"{type(space).__name__} {shape.shape}" for space, shape in zip(spaces, shapes, strict=True)
            )
            raise ValueError(
                f"jaxmarl::{self._name} has agents of different kinds, which cannot share parameters: "
                f"their {kind} spaces are {kinds}"
            )
        return spaces[0]


def _convert(space_of: Any, agent: str, name: str) -> Space:
    try:
        space = space_of(agent)
    except TypeError:
        space = space_of()
    return convert_space(space, f"jaxmarl::{name}")


def _without_time_limit(env: Any) -> Any:
    """A copy of the environment that ends only by itself."""
    # Not by `copy`: some look for what they lack in the environment inside, which is not there yet.
    endless = object.__new__(type(env))
    vars(endless).update(vars(env))
    if "max_steps" in vars(env):
        endless.max_steps = NO_TIME_LIMIT
    if "_env" in vars(env):
        endless._env = _without_time_limit(env._env)
    return endless
