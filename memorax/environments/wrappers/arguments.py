"""Checks of the arguments of wrappers; an error is one line that names the keyword and the value."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import jax.numpy as jnp

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Space
from memorax.environments.wrappers.parts import own_space
from memorax.validation import LARGEST_COUNT


def require_integer(keyword: str, value: Any, meaning: str) -> int:
    """The value, such as `1000` or `1e3`, as an integer, at least 1; `meaning` says what it counts."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not number.is_integer() or number < 1:
        raise ValueError(f"{keyword} ({value!r}) must be a positive integer: {meaning}")
    if number > LARGEST_COUNT:
        raise ValueError(f"{keyword} ({value!r}) must not exceed {LARGEST_COUNT}: {meaning}, counted in 32 bits")
    return int(number)


def require_number(keyword: str, value: Any, valid: Callable[[float], bool], must: str) -> float:
    """The value as a float; `must` says what is valid, for instance `"be a probability from 0 to 1"`."""
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or not valid(float(value)):
        raise ValueError(f"{keyword} ({value!r}) must {must}")
    return float(value)


def require_probability(keyword: str, value: Any) -> float:
    """The value as a float from 0 to 1."""
    return require_number(keyword, value, lambda p: 0 <= p <= 1, "be a probability from 0 to 1")


def require_step_env(keyword: str, env: Environment) -> None:
    """Raise a ValueError if one environment cannot be stepped alone, as wrappers need that start or end episodes."""
    if env.batch_only or env.has_agents:
        raise ValueError(
            f"{keyword} needs an environment that can be stepped alone, and {env.name} is stepped in batches: apply it "
            "before wrappers that share statistics, or use an option of the suite's own"
        )


def require_box(keyword: str, env: Environment) -> Box:
    """The space of what an agent observes, if it is a `Box`."""
    space = own_space(env)
    if not isinstance(space, Box):
        raise ValueError(
            f"{keyword} needs a Box observation: {env.name} has {describe(space)}; flatten_observation makes it one"
        )
    return space


def require_floats(keyword: str, env: Environment) -> Box:
    """The space of what an agent observes, if it is a `Box` of floats."""
    space = require_box(keyword, env)
    if not jnp.issubdtype(space.dtype, jnp.floating):
        raise ValueError(f"{keyword} needs observations of floats: those of {env.name} are {jnp.dtype(space.dtype)}")
    return space


def require_box_of_actions(keyword: str, env: Environment) -> Box:
    """The action space, if it is a `Box`; `keyword` comes with its value, as `"clip_action (True)"`."""
    space = env.action_space(env.default_params)
    if not isinstance(space, Box):
        raise ValueError(f"{keyword} needs a Box of actions: {env.name} has {describe(space)}")
    return space


def describe(space: Space) -> str:
    """The kind of a space in words."""
    return f"a Box of shape {space.shape}" if isinstance(space, Box) else f"a {type(space).__name__}"


def switch(keyword: str, wrapper: Callable[[Environment], Environment]) -> Callable[[Environment, Any], Environment]:
    """A wrapper without settings, by a keyword that is True or False."""

    def apply(env: Environment, value: Any) -> Environment:
        if not isinstance(value, bool):
            raise ValueError(f"{keyword} ({value!r}) must be True or False")
        return wrapper(env) if value else env

    apply.__doc__ = wrapper.__doc__
    return apply
