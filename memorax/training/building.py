"""The agent that the settings of a run describe."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import optax

import memorax
from memorax.algorithms import Agent
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, policy_space
from memorax.learning.optimization import linear_decay
from memorax.networks import TORSOS, FeatureExtractor, Network, PerAgentNetwork, heads, observation_encoder
from memorax.networks.encoders import SpaceEncoder
from memorax.parts import is_own, load_own, look_up
from memorax.training.config import DEFAULT_LEARNING_RATE, DEFAULT_OPTIMIZER, TrainConfig, find_algorithm
from memorax.training.optimizers import make_optimizer
from memorax.types import PyTree


def build_agent(config: TrainConfig, environment: tuple[Environment, PyTree] | None = None) -> Agent:
    """Make the agent a config describes.

    Args:
        config: the settings.
        environment: an environment and its parameters, in place of the one that the config names.

    Raises:
        ValueError: if its parts do not exist or do not fit together.
    """
    if not isinstance(config, TrainConfig):
        raise ValueError(f"config ({type(config).__name__}) must be a TrainConfig")
    env, env_params = environment or memorax.make(config.environment, **_environment_options(config))
    make_torso = look_up("torso", config.torso, TORSOS)
    choose_head = _head_chooser(config, env, env_params)
    replaced = []

    def make_network(head: nn.Module) -> Network:
        extractor = _feature_extractor(config, env, env_params)
        torso = make_torso(config.features, **config.torso_options)
        chosen = choose_head(head)
        replaced.append(chosen != head)
        if config.separate_parameters:
            return PerAgentNetwork(extractor, torso, chosen, num_agents=env.num_agents)
        return Network(extractor, torso, chosen)

    algorithm, _ = find_algorithm(config.algorithm)
    agent = algorithm.build(config.hyperparameters, env, env_params, make_network, _optimizers(config, algorithm))
    if config.head is not None and not is_own(config.head) and not any(replaced):
        raise ValueError(f"head ({config.head}) fits none of the networks of {config.algorithm}, or is theirs already")
    return agent


def _head_chooser(config: TrainConfig, env: Environment, env_params: PyTree) -> Callable[[nn.Module], nn.Module]:
    """What takes the place of each head an algorithm chose."""
    if config.head is None:
        return lambda head: head
    if is_own(config.head):
        return load_own("head", config.head)
    space = policy_space(env.action_space(env_params))
    return functools.partial(heads.head_by_name, space=space, name=config.head)


def _environment_options(config: TrainConfig) -> dict[str, Any]:
    """The environment's options and the wrappers that have settings of their own."""
    wrappers: dict[str, Any] = {"agent_id": True} if config.separate_parameters else {}
    if config.normalize_observation:
        wrappers["normalize_observation"] = True
    if config.normalize_reward:
        wrappers["normalize_reward"] = config.hyperparameters.gamma
    return {**wrappers, **config.environment_options}


def _optimizers(config: TrainConfig, algorithm: type[Agent]) -> Any:
    """An optimizer for each of the algorithm's networks."""
    own = {} if config.optimizer else algorithm.default_optimizers

    def make(name: str, learning_rate: float | None) -> optax.GradientTransformation:
        if name in own:
            optimizer = own[name]() if learning_rate is None else own[name](learning_rate)
        else:
            optimizer = make_optimizer(
                config.optimizer or DEFAULT_OPTIMIZER,
                DEFAULT_LEARNING_RATE if learning_rate is None else learning_rate,
                config.max_grad_norm,
                config.optimizer_options,
            )
        return optax.chain(optimizer, linear_decay(config.total_steps)) if config.anneal_lr else optimizer

    rates = dict.fromkeys(algorithm.optimizers, config.learning_rate)
    critics = [name for name in rates if name.startswith("critic")]
    critic_rate = config.critic_learning_rate
    if critic_rate is not None:
        if not critics:
            raise ValueError(f"critic_learning_rate ({critic_rate}) must be left out: {config.algorithm} has no critic")
        rates.update(dict.fromkeys(critics, critic_rate))
    return {name: make(name, rate) for name, rate in rates.items()}


def _feature_extractor(config: TrainConfig, env: Environment, env_params: PyTree) -> FeatureExtractor:
    make_encoder = observation_encoder if config.encoder is None else load_own("encoder", config.encoder)
    reward_space = Box(-float("inf"), float("inf"), (1,))
    return FeatureExtractor(
        observation_extractor=make_encoder(env.observation_space(env_params), config.features),
        action_extractor=SpaceEncoder(env.action_space(env_params)) if config.previous_action else None,
        reward_extractor=SpaceEncoder(reward_space) if config.previous_reward else None,
        done_extractor=SpaceEncoder(Box(0.0, 1.0, (1,))) if config.episode_start else None,
    )
