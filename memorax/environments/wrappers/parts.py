"""The parts of a dictionary observation that are not changed by what changes observations."""

from __future__ import annotations

from collections.abc import Mapping

from memorax.environments.environment import Environment
from memorax.environments.spaces import Dict, Space
from memorax.types import PyTree

KEPT = ("action_mask", "joint_action_mask", "global_state")
"""Names of the parts that say which actions are legal, and what critics alone may see."""

OWN = "observation"
"""Name of an observation that is no dictionary, where one of the kept parts stands beside it."""


def take_apart(observation: PyTree) -> tuple[PyTree, dict[str, PyTree]]:
    """What the agent observes, and the kept parts by name: none, where an observation is no dictionary with any."""
    kept = {name: observation[name] for name in KEPT if name in observation} if isinstance(observation, Mapping) else {}
    if not kept:
        return observation, {}
    own = {name: part for name, part in observation.items() if name not in kept}
    return (own[OWN] if set(own) == {OWN} else own), kept


def put_together(own: PyTree, kept: Mapping[str, PyTree]) -> PyTree:
    """The inverse of `take_apart`."""
    if not kept:
        return own
    return {**own, **kept} if isinstance(own, Mapping) else {OWN: own, **kept}


def take_space_apart(space: Space) -> tuple[Space, dict[str, Space]]:
    """The spaces of what `take_apart` returns."""
    own, kept = take_apart(space.spaces if isinstance(space, Dict) else space)
    return (Dict(own) if isinstance(own, Mapping) else own), kept


def put_spaces_together(own: Space, kept: Mapping[str, Space]) -> Space:
    """The space of what `put_together` returns."""
    together = put_together(own.spaces if isinstance(own, Dict) else own, kept)
    return Dict(together) if isinstance(together, Mapping) else together


def own_space(env: Environment) -> Space:
    """The space of what an agent observes, without the kept parts."""
    return take_space_apart(env.observation_space(env.default_params))[0]
