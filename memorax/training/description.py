"""What tells one agent from another whose arrays have the same shapes: its settings and those of its environment."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from memorax.algorithms.algorithm import Agent
from memorax.environments.environment import Environment
from memorax.training.checkpoints import named_leaves

Described = str | float | bool | None


def describe_agent(agent: Agent) -> dict[str, Described]:
    """The algorithm, its hyperparameters, the environment, its settings and its parameters, by name.

    Only what is a number or text is told: anything else may read otherwise in another process.
    """
    cfg = agent.cfg
    return {
        "algorithm": type(agent).__name__,
        "environment": agent.env.name,
        **_plain("hyperparameters", {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}),
        **_describe_environment("environment", agent.env),
        **_plain("environment_params", dict(named_leaves(agent.env_params))),
    }


def changes(before: Mapping[str, Described], now: Mapping[str, Described]) -> list[str]:
    """What differs between two agents, such as "hyperparameters.gamma 0.9 -> 0.99"; nothing where one is empty."""
    if not before or not now:
        return []
    names = dict.fromkeys([*before, *now])
    return [f"{name} {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]


def _describe_environment(name: str, env: Environment) -> dict[str, Described]:
    """The attributes of an environment, and of those inside it."""
    attributes = {key: value for key, value in vars(env).items() if not key.startswith("_")}
    found = _plain(name, attributes)
    inside = attributes.get("env")
    if isinstance(inside, Environment):
        found |= _describe_environment(f"{name}.{type(env).__name__}", inside)
    return found


def _plain(name: str, values: Mapping[str, Any]) -> dict[str, Described]:
    """Those of some values that are a number or text."""
    found: dict[str, Described] = {}
    for key, value in values.items():
        if isinstance(value, np.generic) or (hasattr(value, "__array__") and np.ndim(value) == 0):
            value = np.asarray(value).item()
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)  # NaN is not even equal to itself
        if value is None or isinstance(value, bool | int | float | str):
            found[f"{name}.{key}"] = value
    return found
