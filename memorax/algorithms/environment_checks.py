"""Whether an environment keeps its shapes and types, found out before anything is compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from memorax.environments.environment import Environment, MemoryOption, check_step_values
from memorax.environments.spaces import Space, environment_action, policy_space
from memorax.types import PyTree


def check_environment_types(env: Environment, env_params: PyTree) -> None:
    """Check, without computing anything, that an environment's steps return what its reset did.

    Raises:
        ValueError: if the observation or the state after a step is of another structure, shape or type than after a
            reset, or the observation is of floats where the space has integers; if a step returns something else than
            six values, or `memory_option` is no method that returns a `MemoryOption` or None.
    """
    _check_memory_option(env, env_params)
    space = env.action_space(env_params)
    batch = env.vectorize(1)
    # How many actions a step takes: one for each row of a batch, or for each of several agents.
    num_actions = (batch.batch_size,) if env.batch_only or env.num_agents > 1 else ()

    def reset(key: Any) -> tuple[PyTree, PyTree]:
        return batch.reset(key, env_params) if env.batch_only else env.reset(key, env_params)

    def step(key: Any, state: PyTree) -> tuple[PyTree, PyTree]:
        action = environment_action(space, policy_space(space).sample(key))
        action = jax.tree.map(lambda x: jnp.broadcast_to(x, (*num_actions, *x.shape)), action)
        take_step = batch.step if env.batch_only else env.step_env
        made = take_step(key, state, action, env_params)
        check_step_values(env.name, made)
        return made[:2]

    key = jax.random.key(0)
    try:
        first, state = jax.eval_shape(reset, key)
        observation, next_state = jax.eval_shape(step, key, state)
    except TypeError as error:
        if jax.dtypes.canonicalize_dtype(jnp.float64) != jnp.float64:
            raise
        raise ValueError(
            f"{env.name} does not run where JAX has 64-bit numbers: set JAX_ENABLE_X64=0 ({_in_one_line(error)})"
        ) from error
    _require_alike(f"the observation of {env.name}", first, observation)
    _require_alike(f"the state of {env.name}", state, next_state)
    _require_kind(env.name, env.observation_space(env_params), first)


def _check_memory_option(env: Environment, env_params: PyTree) -> None:
    method: Any = env.memory_option
    option = method(env_params) if callable(method) else method
    if option is not None and not isinstance(option, MemoryOption):
        raise ValueError(
            f"memory_option of {env.name} ({option!r}) must be a method of the environment's parameters that returns "
            "a MemoryOption, the name and the value of an option of the environment, or None"
        )


def _require_alike(what: str, before: PyTree, after: PyTree) -> None:
    structure: Any = jax.tree.structure(before)
    if structure != jax.tree.structure(after):
        raise ValueError(
            f"{what} has another structure after a step, {jax.tree.structure(after)}, than after a reset, {structure}: "
            "both must be the same"
        )
    for (path, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        # Numbers of Python take the type of what they meet.
        alike = old.shape == new.shape and (old.dtype == new.dtype or old.weak_type or new.weak_type)
        if not alike:
            raise ValueError(
                f"{what}{jax.tree_util.keystr(path)} is {_describe(old)} after a reset and {_describe(new)} after a "
                "step: both must have the same shape and type"
            )


def _require_kind(name: str, space: Space, observation: PyTree) -> None:
    declared = jax.eval_shape(space.sample, jax.random.key(0))
    structure: Any = jax.tree.structure(declared)
    if structure != jax.tree.structure(observation):
        return
    for (path, wanted), found in zip(jax.tree.leaves_with_path(declared), jax.tree.leaves(observation), strict=True):
        if jnp.issubdtype(found.dtype, jnp.floating) and not jnp.issubdtype(wanted.dtype, jnp.floating):
            raise ValueError(
                f"the observation of {name}{jax.tree_util.keystr(path)} is {found.dtype} where its space says "
                f"{wanted.dtype}: networks scale it by what its space says"
            )


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _describe(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"
