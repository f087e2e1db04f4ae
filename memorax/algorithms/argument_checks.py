"""Checks of what the methods of an agent are given, before anything is compiled; an error is one line."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.types import PyTree
from memorax.validation import described, whole_number


def config_class_of(algorithm: Any) -> type | None:
    """The class of an algorithm's config, where its `Algorithm[Config, State]` names one."""
    for ancestor in getattr(algorithm, "__mro__", ()):
        for base in vars(ancestor).get("__orig_bases__", ()):
            # A base that algorithms of a kind share has a variable in place of the config.
            first = next(iter(typing.get_args(base)), None)
            if hasattr(typing.get_origin(base), "network_heads") and isinstance(first, type):
                return first
    return None


def require_parts(algorithm: type, cfg: Any, env: Any) -> None:
    """Raise a `ValueError` where a config is not the algorithm's, an environment is none, or JAX promotes no types."""
    jax_config: Any = jax.config
    promotion = jax_config.jax_numpy_dtype_promotion
    if promotion != "standard":
        raise ValueError(f"jax_numpy_dtype_promotion ({promotion}) must be standard: integers and floats are mixed")
    expected = config_class_of(algorithm)
    if expected is not None and not isinstance(cfg, expected):
        raise ValueError(f"cfg ({described(cfg)}) must be a {expected.__name__}, for {algorithm.__name__}")
    require_environment(env)


def require_environment(env: Any) -> None:
    """Raise a `ValueError` where an environment is none."""
    if not isinstance(env, Environment):
        raise ValueError(f"env ({described(env)}) must be an environment: memorax.make returns one, and its parameters")


SETTINGS = (int, float, str, tuple, np.ndarray, jax.Array)
"""Types of what may be a setting."""

Settings = dict[tuple[int, str], Any]
"""Settings by the depth of the environment whose they are, 0 for the outermost, and by what they are called."""


def compiled_settings(cfg: Any, env: Environment, env_params: PyTree) -> Settings:
    """The numbers, texts and arrays that are compiled into an agent's programs.

    These are fields of its config, attributes of its environment and of those it wraps, and the environment's
    parameters. Lists and the like are left out, which an environment may keep a record in. An environment on the host
    is not compiled: what is changed there has an effect.
    """
    settings: Settings = {(0, f"cfg.{field.name}"): getattr(cfg, field.name) for field in dataclasses.fields(cfg)}
    depth, inner = 0, None if env.on_host else env
    while isinstance(inner, Environment):
        settings |= {(depth, f"{name} of {env.name}"): value for name, value in vars(inner).items()}
        depth, inner = depth + 1, vars(inner).get("env")
    for path, leaf in jax.tree_util.tree_leaves_with_path(None if env.on_host else env_params):
        place = f"env_params{jax.tree_util.keystr(path)}"
        # An object of a class that JAX does not know is a leaf as a whole.
        attributes = getattr(leaf, "__dict__", {})
        settings |= {(0, place): leaf, **{(0, f"{place}.{name}"): value for name, value in attributes.items()}}
    return {place: value for place, value in settings.items() if isinstance(value, SETTINGS)}


def copied(settings: Settings) -> Settings:
    """Settings that stay as they are: NumPy's arrays, which can be changed in place, are copied."""
    return {place: value.copy() if isinstance(value, np.ndarray) else value for place, value in settings.items()}


def unchanged_settings(before: Settings, now: Settings) -> Settings:
    """Of settings before an environment was run, those that it did not change itself, as one that counts does."""
    return {place: value for place, value in before.items() if not _has_changed(value, now.get(place))}


def require_unchanged(before: Settings, now: Settings) -> None:
    """Raise a `ValueError` where a setting is no more what it was when an agent was built."""
    for place, value in before.items():
        if _has_changed(value, now.get(place)):
            was, is_now = described(value), described(now.get(place))
            change = f"was {was} when the agent was built and is now {is_now}"
            if was == is_now:
                change = f"({was}) holds other values than when the agent was built"
            raise ValueError(f"{place[1]} {change}: it is compiled into the agent's programs. Make another agent")


def _has_changed(before: Any, value: Any) -> bool:
    if value is before:
        return False
    if all(isinstance(x, np.ndarray | jax.Array) for x in (before, value)):
        same_kind = before.dtype == value.dtype and before.shape == value.shape
        return not same_kind or _content(before) != _content(value)
    return repr(value) != repr(before)


def _content(array: np.ndarray | jax.Array) -> bytes:
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if is_key else array).tobytes()


def require_agent(agent: Any) -> None:
    """Raise a `ValueError` where an agent is none."""
    if not hasattr(type(agent), "network_heads"):
        raise ValueError(f"agent ({described(agent)}) must be an agent: an algorithm with networks and an environment")


def require_key(key: Any, call: str) -> None:
    """Raise a `ValueError` where a random key is none, or holds several.

    Args:
        key: what was given as the key.
        call: how the method is called, such as `agent.init(key)`.
    """
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", ())
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        axes = shape
    elif dtype == jnp.uint32 and shape:
        axes = shape[:-1]  # of the old style, whose last axis is the key
    else:
        raise ValueError(f"key ({described(key)}) must be a random key, such as jax.random.key(0): {call}")
    if axes:
        raise ValueError(f"key holds {axes[0]} keys: map over them with jax.vmap, {call} takes one")


def require_state(agent: Any, state: Any, call: str) -> None:
    """Raise a `ValueError` where a state is none of this algorithm's, or holds several seeds.

    Args:
        agent: the agent.
        state: what was given as its state.
        call: how the method is called, such as `agent.train(key, state, num_steps)`.
    """
    name = type(agent).__name__
    if not all(hasattr(state, field) for field in ("step", "worker", *agent.donated)):
        raise ValueError(f"state ({described(state)}) must be one that {name}.init or train returned: {call}")
    if jnp.ndim(state.step):
        raise ValueError(f"state holds {state.step.shape[0]} seeds: map over them with jax.vmap, {call} takes one")


def require_own_state(agent: Any, state: Any) -> None:
    """Raise a `ValueError` where a state to go on from is another agent's, or a call has taken over parts of it."""
    rows, num_agents = state.worker.timestep.reward.shape[0], agent.env.num_agents
    if rows != agent.cfg.num_envs * num_agents:
        raise ValueError(
            f"state is of an agent with {rows // num_agents} environments: num_envs ({agent.cfg.num_envs}) is another "
            "number"
        )
    for field in agent.donated:
        leaves = [x for x in jax.tree.leaves(getattr(state, field)) if isinstance(x, jax.Array)]
        if any(not isinstance(x, jax.core.Tracer) and x.is_deleted() for x in leaves):
            raise ValueError(
                f"state has lost its {field}, which the call it was given to before took over: go on with the state "
                "that was returned there"
            )


def rounded_up(num_steps: Any, steps_at_a_time: int) -> int:
    """How many times so many steps are taken until `num_steps`, over all environments, are taken.

    Raises:
        ValueError: if it is no whole number, or not positive.
    """
    number = whole_number("num_steps", num_steps)
    if number < 1:
        raise ValueError(f"num_steps ({num_steps}) must be at least 1: it counts steps over all environments")
    return -(-number // steps_at_a_time)
