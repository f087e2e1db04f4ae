"""Which task a run is of: its environment, and the options in which the runs of this environment differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memorax.environments.interface import WORLD
from memorax.environments.wrappers import WRAPPERS

SEEN_OPTIONS = tuple(keyword for keyword in WRAPPERS if keyword not in WORLD)
"""Options that say how an agent sees an environment. Rewards and episodes stay what they are, so that returns compare:
they are settings of a run, and not of its task."""


@dataclass(frozen=True)
class Task:
    """What a run was trained in.

    Attributes:
        environment: id of the environment, or its name where it was made in Python; empty where a run does not say it.
        options: what else its returns depend on, by name.
    """

    environment: str
    options: Mapping[str, Any]


def task_of(content: Mapping[str, Any]) -> Task:
    """The task of a run.

    An agent that was made in Python has no options in its settings: the facts that were recorded of its environment
    take their place.

    Args:
        content: what `read_facts` returns.
    """
    environment = content["config"].get("environment")
    name = str(content.get("agent", {}).get("environment", "") if environment is None else environment)
    return Task(name, {option: value for option, value in _options(content).items() if option not in SEEN_OPTIONS})


def seen_options(content: Mapping[str, Any]) -> dict[str, Any]:
    """How the agent of a run sees its environment: the options that are no part of its task.

    Args:
        content: what `read_facts` returns.
    """
    return {option: value for option, value in _options(content).items() if option in SEEN_OPTIONS}


def differing_options(tasks: Sequence[Task]) -> list[str]:
    """The options of each task in which tasks of the same environment differ, such as "delay=3"."""
    values: dict[str, dict[str, set[str]]] = {}
    for task in tasks:
        values.setdefault(task.environment, {}).update({name: set() for name in task.options})
    # Once every name is known, as an option that only one of the tasks has is a difference too.
    for task in tasks:
        for name, found in values[task.environment].items():
            found.add(json.dumps(task.options[name]) if name in task.options else "")
    return [
        " ".join(
            f"{name}={task.options[name]!r}"
            for name, found in values[task.environment].items()
            if len(found) > 1 and name in task.options
        )
        for task in tasks
    ]


def _options(content: Mapping[str, Any]) -> Mapping[str, Any]:
    config = content["config"]
    options: Mapping[str, Any] = config.get("environment_options", {})
    return options if "hyperparameters" in config else _recorded_options(content)


def _recorded_options(content: Mapping[str, Any]) -> dict[str, Any]:
    """What was recorded of an environment that was made in Python: its wrappers, its settings and its parameters."""
    agent, wrappers = content.get("agent", {}), content.get("interface", {}).get("wrappers", {})
    found = dict(wrappers)
    for fact, value in agent.items():
        # The settings of what is wrapped stand below the name of each wrapper around it. Those of the wrappers that
        # are known by keyword are left out, so that the same environment has the same names with and without them.
        words = fact.split(".")[1:]
        if fact.startswith("environment.") and len(words) > len(wrappers):
            found[".".join(words[len(wrappers) :])] = value
    # Last, as the parameters are what the environment runs with where its own settings are but their defaults.
    parameters = "environment_params."
    return found | {f.removeprefix(parameters): value for f, value in agent.items() if f.startswith(parameters)}
