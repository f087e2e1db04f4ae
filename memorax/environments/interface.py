"""What passes between an environment and the agent in it: the spaces on both sides of the wrappers between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memorax.environments.environment import Environment
from memorax.environments.space_json import space_from_json, space_to_json
from memorax.environments.spaces import Space
from memorax.environments.wrappers.wrapper import Wrapper
from memorax.types import PyTree
from memorax.validation import json_value

WORLD = (
    "action_repeat",
    "time_limit",
    "optimistic_resets",
    "sticky_actions",
    "noisy_observation",
    "delay_observation",
    "flicker_observation",
    "periodic_observation",
)
"""Keywords of the wrappers that say how the world behaves, and not how an agent sees it: a policy leaves them out."""


@dataclass(frozen=True)
class Interface:
    """The two sides of the wrappers between an environment and an agent.

    Attributes:
        observation_space, action_space: what the environment shows and takes, for one agent.
        seen_space: what the agent's networks are shown.
        chosen_space: what its actions are, for the outermost wrapper.
        num_agents: agents in one environment.
        wrappers: the wrappers that `make` put in between, by keyword, the innermost first.
    """

    observation_space: Space
    action_space: Space
    seen_space: Space
    chosen_space: Space
    num_agents: int
    wrappers: Mapping[str, Any]

    @property
    def carried(self) -> dict[str, Any]:
        """The wrappers that a policy applies itself."""
        return {keyword: value for keyword, value in self.wrappers.items() if keyword not in WORLD}

    def to_json(self) -> dict[str, Any]:
        """The interface as JSON holds it."""
        spaces = {name: space_to_json(getattr(self, name)) for name in SPACES}
        return {**spaces, "num_agents": self.num_agents, "wrappers": json_value("wrappers", self.wrappers)}


SPACES = ("observation_space", "action_space", "seen_space", "chosen_space")


def interface_from_json(content: Mapping[str, Any]) -> Interface:
    """The inverse of `Interface.to_json`."""
    spaces = {name: space_from_json(content[name]) for name in SPACES}
    return Interface(**spaces, num_agents=content["num_agents"], wrappers=content["wrappers"])


def describe_interface(env: Environment, env_params: PyTree) -> Interface:
    """The interface of an environment that `make` made. Wrappers applied otherwise count as part of the environment."""
    inside, wrappers = env, []
    while isinstance(inside, Wrapper) and inside.keyword is not None:
        wrappers.append(inside.keyword)
        inside = inside.env
    return Interface(
        observation_space=inside.observation_space(env_params),
        action_space=inside.action_space(env_params),
        seen_space=env.observation_space(env_params),
        chosen_space=env.action_space(env_params),
        num_agents=env.num_agents,
        wrappers=dict(reversed(wrappers)),
    )
