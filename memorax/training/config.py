"""The settings of a run, and the agent they describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import optax

import memorax
from memorax.algorithms import ALGORITHMS, Algorithm
from memorax.environments.environment import Environment
from memorax.environments.options import suggest
from memorax.environments.spaces import Box
from memorax.networks import TORSOS, FeatureExtractor, Network, observation_encoder
from memorax.networks.encoders import SpaceEncoder
from memorax.training.options import EnvironmentOptions
from memorax.types import PyTree
from memorax.validation import require_positive


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The settings of a run.

    Attributes:
        hyperparameters: Hyperparameters of the algorithm, an instance of its config. Default: the config's defaults.
        environment: Id of the environment; `memorax list environments` shows them.
        environment_options: Options of the environment and of wrappers around it, each as NAME=VALUE.
        algorithm: Name of the algorithm; `memorax list algorithms` shows them.
        torso: Name of the sequence model, the network's memory; `memorax list torsos` shows them.
        features: Width of the observation encoder and of the torso.
        previous_action: Show the network its previous action.
        previous_reward: Show the network its previous reward.
        episode_start: Show the network whether an observation is the first of its episode, as the wrapper `Antialias`
            of POPGym (package `popgym` 1.0.7) does.
        learning_rate: Learning rate of the Adam optimizer.
        max_grad_norm: Largest global norm of a gradient; a larger gradient is scaled down to it.
        total_steps: Environment steps that each agent is trained for, counted over all its environments.
        num_seeds: Number of agents that are trained side by side in one program, each with its own seed.
        seed: Random seed of the first agent; agent i uses seed + i.
        log_interval: Environment steps between two rows of metrics. Default: about a hundredth of the run.
        evaluation_interval: Environment steps between two evaluations. Default: a twentieth of the run, but at least
            the length of an evaluation.
        evaluation_steps: Environment steps of an evaluation, counted over all environments. Default: 1024 in each.
        checkpoint_seconds: Shortest time between two checkpoints, in seconds.
        loggers: Where metrics go; `memorax list loggers` shows the names.
    """

    hyperparameters: Any = None
    environment: str = "popgym::RepeatPreviousEasy"
    environment_options: EnvironmentOptions = dataclasses.field(default_factory=dict)
    algorithm: str = "ppo"
    torso: str = "gru"
    features: int = 64
    previous_action: bool = False
    previous_reward: bool = False
    episode_start: bool = False
    learning_rate: float = 3e-4
    max_grad_norm: float = 0.5
    total_steps: int = 1_000_000
    num_seeds: int = 1
    seed: int = 0
    log_interval: int | None = None
    evaluation_interval: int | None = None
    evaluation_steps: int | None = None
    checkpoint_seconds: float = 30.0
    loggers: tuple[str, ...] = ("file", "terminal")

    def __post_init__(self) -> None:
        _, config_class = look_up("algorithm", self.algorithm, ALGORITHMS)
        look_up("torso", self.torso, TORSOS)
        if self.hyperparameters is None:
            object.__setattr__(self, "hyperparameters", config_class())
        if not isinstance(self.hyperparameters, config_class):
            given = type(self.hyperparameters).__name__
            raise ValueError(f"hyperparameters ({given}) must be a {config_class.__name__} for {self.algorithm!r}")
        require_positive(self, "features", "learning_rate", "max_grad_norm", "total_steps", "num_seeds")


def look_up(kind: str, name: str, members: dict[str, Any]) -> Any:
    """The member of that name.

    Raises:
        ValueError: if there is none, naming those that exist.
    """
    if name not in members:
        close = suggest(name, members)
        raise ValueError(f"unknown {kind} {name!r}{close or ':'} choose from {', '.join(members)}")
    return members[name]


def build_agent(config: TrainConfig) -> Algorithm[Any, Any]:
    """Make the agent a config describes.

    Raises:
        ValueError: if its parts do not exist or do not fit together.
    """
    env, env_params = memorax.make(config.environment, **config.environment_options)

    def make_network(head: nn.Module) -> Network:
        return Network(_feature_extractor(config, env, env_params), TORSOS[config.torso](config.features), head)

    # The epsilon that PPO's reference implementation uses (Huang et al., 2022, detail 3).
    optimizer = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate, eps=1e-5))
    algorithm, _ = ALGORITHMS[config.algorithm]
    return algorithm.build(config.hyperparameters, env, env_params, make_network, optimizer)


def config_to_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON holds them."""
    return dataclasses.asdict(config)


def config_from_json(settings: dict[str, Any], origin: str) -> TrainConfig:
    """The inverse of `config_to_json`.

    Args:
        settings: what `config_to_json` returned.
        origin: where they were read, for messages.

    Raises:
        ValueError: if there are settings that do not exist, or values that are not valid.
    """
    _check_fields(settings, TrainConfig, origin)
    _, config_class = look_up("algorithm", settings["algorithm"], ALGORITHMS)
    hyperparameters = settings["hyperparameters"]
    _check_fields(hyperparameters, config_class, origin)
    return TrainConfig(
        **{
            **settings,
            "hyperparameters": config_class(**hyperparameters),
            "loggers": tuple(settings["loggers"]),
        }
    )


def _check_fields(settings: Iterable[str], config_class: type, origin: str) -> None:
    known = {field.name for field in dataclasses.fields(config_class)}
    found = set(settings)
    for problem, names in (("has unknown", found - known), ("lacks", known - found)):
        if names:
            raise ValueError(
                f"{origin} {problem} settings of {config_class.__name__}: {', '.join(sorted(names))}. "
                "Use the version of memorax that wrote it"
            )


def _feature_extractor(config: TrainConfig, env: Environment, env_params: PyTree) -> FeatureExtractor:
    reward_space = Box(-float("inf"), float("inf"), (1,))
    return FeatureExtractor(
        observation_extractor=observation_encoder(env.observation_space(env_params), config.features),
        action_extractor=SpaceEncoder(env.action_space(env_params)) if config.previous_action else None,
        reward_extractor=SpaceEncoder(reward_space) if config.previous_reward else None,
        done_extractor=SpaceEncoder(Box(0.0, 1.0, (1,))) if config.episode_start else None,
    )
