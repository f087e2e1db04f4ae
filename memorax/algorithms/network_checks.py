"""Whether an algorithm's networks fit its environment, found out before anything is compiled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax import rollout as rollouts
from memorax.environments.environment import Environment
from memorax.environments.spaces import Space, policy_space
from memorax.networks.network import Network, initialize, takes_action, unroll_step
from memorax.networks.sequence_models.sequence_model_wrapper import check_is_sequence_model
from memorax.types import Array, Carry, PyTree, Timestep

MakeHead = Callable[[Any], nn.Module]
"""The head of a network that fits an action space."""


def check_networks(
    networks: dict[str, Network], defaults: Mapping[str, MakeHead], env: Environment, env_params: PyTree
) -> dict[str, Carry]:
    """Check, without computing anything, that networks fit an environment and keep the shape of their carries.

    Args:
        networks: every network by its name.
        defaults: by the names of networks, heads that return what theirs are to return.
        env: the environment.
        env_params: its parameters.

    Returns:
        The shapes of each network's carry for the agents of one environment.

    Raises:
        ValueError: naming the network and what does not fit.
    """
    environments = env.vectorize(1)
    key = jax.random.key(0)

    def first_timestep() -> Timestep:
        return rollouts.first_timestep(environments, env_params, environments.reset(key, env_params)[0])

    space = policy_space(env.action_space(env_params))
    carries = {}
    for name, network in networks.items():
        _check_places(name, network)
        check_is_sequence_model(network.torso, f"the torso of {name}")
        network.head.check_action_space(space)
        if name in defaults:
            _check_returns(name, network.head, defaults[name], space)

        def first_step(network: Network = network) -> tuple[PyTree, Carry, Carry]:
            timestep = first_timestep()
            params, carry = initialize(network, key, timestep)
            head_inputs = (timestep.action,) if takes_action(network.head) else ()
            return params, carry, unroll_step(network, params, timestep, carry, head_inputs)[0]

        variables, before, after = without_state_or_noise(name, first_step)
        _check_parameters(name, variables)
        if jax.tree.map(_describe, before) != jax.tree.map(_describe, after):
            raise ValueError(
                f"the torso of {name} must keep the shapes and types of its carry, but it starts from "
                f"{jax.tree.map(_describe, before)} and returns {jax.tree.map(_describe, after)}"
            )
        carries[name] = before
    return carries


def _check_places(name: str, network: Network) -> None:
    """Raise a `ValueError` where a part of a network stands in the place of another."""
    first = type(network.feature_extractor)
    try:
        inspect.signature(first.__call__).bind(None, "observation", "action", "reward", "done")
    except TypeError:
        raise ValueError(
            f"the feature extractor of {name} ({first.__name__}) must take observations, actions, rewards and done: "
            "FeatureExtractor(observation_extractor=...) makes one of what takes observations"
        ) from None
    if not hasattr(network.head, "check_action_space"):
        raise ValueError(
            f"the head of {name} ({type(network.head).__name__}) must be a Head: see memorax.networks.heads"
        )


def _check_parameters(name: str, variables: PyTree) -> None:
    """Raise a `ValueError` where a parameter is of a type that no gradient descends."""
    for path, x in jax.tree_util.tree_leaves_with_path(variables.get("params", {})):
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            place = "/".join(str(part.key) for part in path)
            raise ValueError(
                f"{name} has a parameter that is {x.dtype} and cannot be learned, {place}: make it one of floats, or a "
                'variable of another collection, self.variable("constants", ...)'
            )


def _check_returns(name: str, head: Any, make_default: MakeHead, space: Space) -> None:
    """Raise a `ValueError` where a head returns something else than the default does."""
    try:
        default: Any = make_default(space)
    except ValueError:  # the head is one for a space that has no default
        return
    if head.returns != default.returns:
        raise ValueError(
            f"{name} needs a head that returns {default.returns}, such as {type(default).__name__}: "
            f"{type(head).__name__} returns {head.returns}"
        )


STATE = (
    "{} has a layer that changes its own variables, such as BatchNorm: a network must compute the same whenever it is "
    "called. Use LayerNorm, or the normalize_observation wrapper ({})"
)
NOISE = (
    "{} has a layer that draws random numbers, such as Dropout: a network must compute the same in acting and in "
    "learning. Leave it out ({})"
)


def without_state_or_noise(name: str, first_step: Callable[[], PyTree]) -> PyTree:
    """The shapes that a function of a network's first step returns, a network's variables first.

    Raises:
        ValueError: if a layer changes its own variables or draws random numbers.
    """
    try:
        made: Any = jax.eval_shape(first_step)
        if "batch_stats" in made[0]:
            raise flax.errors.ModifyScopeVariableError("batch_stats", "mean", "")
        return made
    except (flax.errors.ModifyScopeVariableError, flax.errors.ScopeCollectionNotFound) as error:
        raise ValueError(STATE.format(name, _said(error))) from error
    except flax.errors.InvalidRngError as error:
        raise ValueError(NOISE.format(name, _said(error))) from error


def _said(error: Exception) -> str:
    """What an error of Flax says, in one line, without the address of its explanation."""
    return " ".join(str(error).split()).partition(" (https")[0]


def _describe(array: Array) -> str:
    return f"{array.dtype}{list(array.shape)}"
