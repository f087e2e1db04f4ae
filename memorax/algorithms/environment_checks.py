"""Whether an environment keeps its shapes and types, found out before anything is compiled."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import memorax
from memorax.environments.environment import (
    Environment,
    MemoryOption,
    OptimisticVectorEnvironment,
    VectorEnvironment,
    check_step_values,
    describe_returned,
)
from memorax.environments.multi_agent import MultiAgentVectorEnvironment
from memorax.environments.spaces import Space, environment_action, policy_space
from memorax.environments.wrappers import Transform, Wrapper
from memorax.types import PyTree

UNKNOWN_WHILE_TRACING = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)

STEPS_OF_BATCHES = (VectorEnvironment.step, OptimisticVectorEnvironment.step, MultiAgentVectorEnvironment.step)
"""The steps of batches that report the final observation."""


def check_environment_types(env: Environment, env_params: PyTree) -> None:
    """Check, without computing anything, that an environment's steps return what its reset did.

    Raises:
        ValueError: if the observation or the state after a step is of another structure, shape or type than after a
            reset; if the observation is not what its space says in structure, shape and kind of numbers; if a reset
            returns something else than two values or a step than six, a reward or an end is not a single number, or
            what is reported no dictionary of arrays; if a step of its own, or of its batch, reports no final
            observation; if it cannot be compiled; if `memory_option` is no method that returns a `MemoryOption` or
            None.
    """
    _check_memory_option(env, env_params)
    space = env.action_space(env_params)
    for kind, declared in (("observation", env.observation_space(env_params)), ("action", space)):
        if not isinstance(declared, Space):
            given = f"{type(declared).__module__}.{type(declared).__name__}"
            raise ValueError(f"the {kind} space of {env.name} ({given}) must be one of memorax.environments.spaces")
    batch = env.vectorize(1)
    # Wrappers change what each of several agents sees row by row of a batch.
    in_batches = env.batch_only or (env.has_agents and isinstance(env, Wrapper))
    # How many actions a step takes: one for each row of a batch, or for each of several agents.
    num_actions = (batch.batch_size,) if env.batch_only or env.has_agents else ()

    together = ", as an episode ends for all agents together" if env.has_agents else ""

    def reset(key: Any) -> tuple[PyTree, PyTree]:
        made = batch.reset(key, env_params) if in_batches else env.reset(key, env_params)
        if not isinstance(made, tuple) or len(made) != 2:
            raise ValueError(
                f"reset of {env.name} must return (observation, env_state), and not {describe_returned(made)}"
            )
        return made

    def step(key: Any, state: PyTree) -> tuple[PyTree, PyTree]:
        action = environment_action(space, policy_space(space).sample(key))
        action = jax.tree.map(lambda x: jnp.broadcast_to(x, (*num_actions, *x.shape)), action)
        take_step = batch.step if in_batches else env.step_env
        made = take_step(key, state, action, env_params)
        check_step_values(env.name, made)
        _require_numbers(env.name, "reward", made[2], num_actions)
        for name, value in (("terminated", made[3]), ("truncated", made[4])):
            # An environment ends for all agents at once; a batch says so in each of their rows.
            _require_numbers(env.name, name, value, num_actions if in_batches else (), together)
        _require_reported(env.name, made[5])
        if in_batches:
            _require_final_observation(env.name, made[5])
        return made[:2]

    key = jax.random.key(0)
    try:
        first, state = jax.eval_shape(reset, key)
        observation, next_state = jax.eval_shape(step, key, state)
    except UNKNOWN_WHILE_TRACING as error:
        raise ValueError(
            f"{env.name} cannot be compiled: {_place(error)} asks for a number that is known only when the program "
            "runs, as `if`, `while`, int() and NumPy do: use jnp.where, jax.lax.cond or jax.numpy"
        ) from error
    except TypeError as error:
        if jax.dtypes.canonicalize_dtype(jnp.float64) != jnp.float64:
            raise
        raise ValueError(
            f"{env.name} does not run where JAX has 64-bit numbers: set JAX_ENABLE_X64=0 ({_in_one_line(error)})"
        ) from error
    _require_alike(f"the observation of {env.name}", first, observation)
    _require_alike(f"the state of {env.name}", state, next_state)
    _require_declared(env.name, env.observation_space(env_params), first, num_actions)
    _check_own_step(env, env_params)


def _check_own_step(env: Environment, env_params: PyTree) -> None:
    """A step of the environment's own, or of its batch, reports the final observation as `Environment.step` does."""
    while isinstance(env, Transform):  # whose batch steps the batch of what is inside
        env = env.env
    batch = env.vectorize(1)
    ours = type(env).step is Environment.step and type(batch).step in STEPS_OF_BATCHES
    if ours or env.batch_only:  # whose batch was stepped before
        return
    space = env.action_space(env_params)

    def step(key: Any) -> None:
        action = environment_action(space, policy_space(space).sample(key))
        action = jax.tree.map(lambda x: jnp.broadcast_to(x, (batch.batch_size, *x.shape)), action)
        _require_final_observation(env.name, batch.step(key, batch.reset(key, env_params)[1], action, env_params)[5])

    jax.eval_shape(step, jax.random.key(0))


def _require_final_observation(name: str, info: dict[str, Any]) -> None:
    if "final_observation" not in info:
        raise ValueError(
            f"step of {name} must report info['final_observation'], the observation that the action led to, as "
            "Environment.step does where step_env alone is overridden"
        )


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
        if old.shape != new.shape or not (old.dtype == new.dtype or old.weak_type or _takes_type(new, old)):
            raise ValueError(
                f"{what}{jax.tree_util.keystr(path)} is {_describe(old)} after a reset and {_describe(new)} after a "
                "step: both must have the same shape and type"
            )


def _takes_type(number: Any, of: Any) -> bool:
    """Whether a number is one of Python's that takes the type of what it meets, as 1 and 1.0 that of a float."""
    if not number.weak_type:
        return False
    met: Any = jax.eval_shape(lambda x, y: jnp.where(True, x, y), number, of)
    return met.dtype == of.dtype


def _require_declared(name: str, space: Space, observation: PyTree, lead: tuple[int, ...]) -> None:
    declared = jax.eval_shape(space.sample, jax.random.key(0))
    structure: Any = jax.tree.structure(declared)
    if structure != jax.tree.structure(observation):
        found, expected = (jax.tree.map(_describe, tree) for tree in (observation, declared))
        raise ValueError(f"the observation of {name} is {found} where its space says {expected}")
    for (path, wanted), found in zip(jax.tree.leaves_with_path(declared), jax.tree.leaves(observation), strict=True):
        what = f"the observation of {name}{jax.tree_util.keystr(path)}"
        if jnp.issubdtype(found.dtype, jnp.floating) and not jnp.issubdtype(wanted.dtype, jnp.floating):
            raise ValueError(
                f"{what} is {found.dtype} where its space says {wanted.dtype}: networks scale it by what its space says"
            )
        if found.shape != (*lead, *wanted.shape):
            raise ValueError(f"{what} is {_describe(found)} where its space says {_describe(wanted)}")


def _require_numbers(name: str, what: str, value: Any, shape: tuple[int, ...], why: str = "") -> None:
    try:
        found = jnp.asarray(value)
    except (TypeError, ValueError):
        raise ValueError(f"{what} of {name} must be a number, not {value!r:.80}") from None
    # An end may be that of all agents at once.
    if found.shape not in (shape, ()):
        raise ValueError(f"{what} of {name} must be a single number{why}, not {_describe(found)}")


def _require_reported(name: str, info: Any) -> None:
    if not isinstance(info, dict):
        raise ValueError(f"the last value that step_env of {name} returns must be a dictionary, not {info!r:.80}")
    for key, value in info.items():
        try:
            jax.tree.map(jnp.asarray, value)
        except (TypeError, ValueError):
            raise ValueError(
                f"info[{key!r}] of {name} must be an array or a tree of arrays, not {value!r:.80}"
            ) from None


def _place(error: Exception) -> str:
    """The last line of code that is neither JAX's nor ours on the way to an error."""
    libraries = tuple(str(Path(module.__file__).parent) for module in (jax, memorax) if module.__file__)
    frames = [x for x in traceback.extract_tb(error.__traceback__) if not x.filename.startswith(libraries)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "a step"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _describe(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"
