"""The settings of a run, and the agent they describe."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import flax.linen as nn
import optax
import tyro

import memorax
from memorax.algorithms import ALGORITHMS, Agent
from memorax.algorithms.argument_checks import config_class_of
from memorax.environments.environment import Environment
from memorax.environments.make import SUITES
from memorax.environments.spaces import Box, Space, policy_space
from memorax.learning.optimization import linear_decay
from memorax.networks import TORSOS, FeatureExtractor, Network, PerAgentNetwork, heads, observation_encoder
from memorax.networks.encoders import SpaceEncoder
from memorax.parts import check_options, check_own_options, import_own, is_own, load_own, look_up, make_part, suggest
from memorax.training.checkpoints import KEPT
from memorax.training.finite import ON_NAN
from memorax.training.optimizers import check_optimizer_options, make_optimizer
from memorax.training.options import Options, Steps
from memorax.types import PyTree
from memorax.validation import (
    described,
    duration,
    json_value,
    plain_value,
    python_numbers,
    random_seed,
    require_finite,
    require_one_of,
    require_positive,
    several_texts,
    whole_number,
)

DEFAULT_OPTIMIZER, DEFAULT_LEARNING_RATE = "adam", 3e-4

COUNTS_OF_STEPS = ("total_steps", "log_interval", "evaluation_interval", "evaluation_steps")
OPTIONS = ("environment_options", "torso_options", "optimizer_options")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The settings of a run.

    Where a part has a name (environment, algorithm, torso, encoder, head, optimizer), `MODULE:ATTRIBUTE` names one of
    your own.

    Attributes:
        hyperparameters: Hyperparameters of the algorithm, an instance of its config. Default: the config's defaults.
        environment: Id of the environment; `memorax list environments` shows them.
        environment_options: Options of the environment and of wrappers around it, each as NAME=VALUE; `memorax list
            wrappers` shows the latter.
        algorithm: Name of the algorithm; `memorax list algorithms` shows them. One of your own is a subclass of
            `Algorithm`.
        torso: Name of the sequence model, the network's memory; `memorax list torsos` shows them. One of your own is a
            function of `features`.
        torso_options: Options of the torso, each as NAME=VALUE.
        features: Width of the observation encoder and of the torso.
        encoder: Function of your own that makes the observation encoder from the observation space and `features`.
        head: Name of the head for the networks it fits: gaussian, squashed_gaussian or beta for a policy, dueling, c51,
            quantile or hl_gauss for values. One of your own is a function that is given each head the algorithm chose
            and returns the one to use.
        separate_parameters: Give each agent of an environment parameters of its own, instead of sharing them.
        imports: Modules to import first, which may add parts of their own.
        previous_action: Show the network its previous action.
        previous_reward: Show the network its previous reward.
        episode_start: Show the network whether an observation is the first of its episode, as the wrapper `Antialias`
            of POPGym (package `popgym` 1.0.7) does.
        normalize_observation: Shift and scale observations to a running mean of 0 and variance of 1.
        normalize_reward: Divide rewards by the running standard deviation of their discounted sum.
        optimizer: Name of the optimizer; `memorax list optimizers` shows them. Default: adam, or the algorithm's own
            (streaming algorithms have ObGD).
        optimizer_options: Options of the optimizer, each as NAME=VALUE.
        learning_rate: Learning rate of every network. Default: 3e-4, or that of the algorithm's own optimizer.
        critic_learning_rate: Learning rate of the critic. Default: that of every network.
        anneal_lr: Lower the learning rates linearly to zero over the run.
        max_grad_norm: Largest global norm of a gradient; a larger gradient is scaled down to it. An algorithm's
            own optimizer limits its steps itself.
        total_steps: Environment steps that each agent is trained for, counted over all its environments.
        num_seeds: Number of agents that are trained side by side in one program, each with its own seed.
        seed: Random seed of the first agent; agent i uses seed + i.
        devices: Number of devices, which are GPUs, TPU cores or, where there are none, cores of the CPU. Several agents
            are spread over them; of a single one, the environments and minibatches. Default: all devices for several
            agents, one for a single one.
        log_interval: Environment steps between two rows of metrics. Default: about a hundredth of the run.
        evaluation_interval: Environment steps between two evaluations, rounded up to whole log intervals. Default: a
            twentieth of the run, but at least the length of an evaluation.
        evaluation_steps: Environment steps of an evaluation, counted over all environments. Default: 1024 in each.
        checkpoint_seconds: Shortest time between two checkpoints, in seconds.
        keep_checkpoints: Number of the last checkpoints that are kept, beside the one with the best mean evaluation
            return over seeds.
        patience: Stop after so many evaluations in a row whose mean return is no better than the best before them.
            Default: train for all steps.
        on_nan: What to do where a loss or a parameter is not finite: stop the run, with the last checkpoint from before
            it, or continue.
        loggers: Where metrics go; `memorax list loggers` shows the names.
        group: Name that the run shares with others, passed to the loggers.
        tags: Words by which the run can be found, passed to the loggers.
    """

    hyperparameters: Any = None
    environment: str = "popgym::RepeatPreviousEasy"
    environment_options: Options = dataclasses.field(default_factory=dict)
    algorithm: str = "ppo"
    torso: str = "gru"
    torso_options: Options = dataclasses.field(default_factory=dict)
    features: int = 64
    encoder: str | None = None
    head: str | None = None
    separate_parameters: bool = False
    imports: Annotated[tuple[str, ...], tyro.conf.arg(name="import", metavar="MODULE ...", help_behavior_hint="")] = ()
    previous_action: bool = False
    previous_reward: bool = False
    episode_start: bool = False
    normalize_observation: bool = False
    normalize_reward: bool = False
    optimizer: str | None = None
    optimizer_options: Options = dataclasses.field(default_factory=dict)
    learning_rate: float | None = None
    critic_learning_rate: float | None = None
    anneal_lr: bool = False
    max_grad_norm: float = 0.5
    total_steps: Steps = 1_000_000
    num_seeds: int = 1
    seed: int = 0
    devices: int | None = None
    log_interval: Steps | None = None
    evaluation_interval: Steps | None = None
    evaluation_steps: Steps | None = None
    checkpoint_seconds: float = 30.0
    keep_checkpoints: int = KEPT
    patience: int | None = None
    on_nan: Annotated[str, tyro.conf.arg(metavar="{stop,continue}")] = "stop"
    loggers: tuple[str, ...] = ("file", "terminal")
    group: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_kinds(self)
        import_all(self.imports, "TrainConfig")
        for name in COUNTS_OF_STEPS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        algorithm, config_class = find_algorithm(self.algorithm)
        if self.hyperparameters is None:
            object.__setattr__(self, "hyperparameters", config_class())
        if not isinstance(self.hyperparameters, config_class):
            given = described(self.hyperparameters)
            raise ValueError(f"hyperparameters ({given}) must be a {config_class.__name__} for {self.algorithm!r}")
        object.__setattr__(self, "hyperparameters", python_numbers(self.hyperparameters))
        for name in OPTIONS:
            options = {option: plain_value(value) for option, value in getattr(self, name).items()}
            object.__setattr__(self, name, options)
        for name, value in vars(python_numbers(self)).items():
            object.__setattr__(self, name, value)
        check_options(f"torso {self.torso!r}", look_up("torso", self.torso, TORSOS), self.torso_options)
        if self.optimizer is None and algorithm.default_optimizers and self.optimizer_options:
            raise ValueError(f"optimizer_options {self.optimizer_options} need the name of an optimizer")
        check_optimizer_options(self.optimizer or DEFAULT_OPTIMIZER, self.optimizer_options)
        if self.encoder is not None and not is_own(self.encoder):
            raise ValueError(f"encoder ({self.encoder}) must be MODULE:ATTRIBUTE")
        if self.head is not None and not is_own(self.head):
            look_up("head", self.head, dict.fromkeys(heads.HEAD_NAMES))
        require_positive(self, "features", "learning_rate", "critic_learning_rate", "max_grad_norm", "num_seeds")
        require_finite(self, "learning_rate", "critic_learning_rate")
        require_positive(self, "devices", "keep_checkpoints", "patience")
        duration("checkpoint_seconds", self.checkpoint_seconds)
        require_one_of(self, "on_nan", *ON_NAN)
        require_positive(self, *COUNTS_OF_STEPS)
        random_seed("seed", self.seed, self.num_seeds)


TEXT = (
    "text: a name or, of one of your own, MODULE:ATTRIBUTE. An agent made in Python is trained by "
    "memorax.training.train(agent, ...)"
)
"""What a setting must be that is a text."""


def _check_kinds(config: TrainConfig) -> None:
    """Raise a `ValueError` where a setting that is text, several texts or options by name holds something else."""
    for name, hint in typing.get_type_hints(TrainConfig).items():
        value = getattr(config, name)
        if name in OPTIONS:
            # A name that is no text would fail where an option is looked for, or be another option in JSON.
            valid = isinstance(value, Mapping) and all(isinstance(option, str) for option in value)
            kind = "options by name, a dictionary"
        elif typing.get_origin(hint) is tuple:
            if isinstance(value, list | tuple):
                several_texts(name, value)
            valid, kind = isinstance(value, list | tuple), f"a list of texts, such as {[str(value)]}"
        elif hint in (str, str | None):
            valid, kind = isinstance(value, str) or (value is None and hint is not str), TEXT
        else:
            continue
        if not valid:
            simple = value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
            raise ValueError(f"{name} ({value if simple else type(value).__name__!r}) must be {kind}")


def import_all(modules: Any, origin: str) -> None:
    """Import modules of one's own, which may add parts.

    Args:
        modules: their names, as they were read.
        origin: place they were read from, for messages.

    Raises:
        ValueError: if they are no names of modules, or there is no such module.
    """
    if not isinstance(modules, list | tuple) or not all(isinstance(module, str) for module in modules):
        raise ValueError(f"{origin}: imports ({modules!r}) must be a list of texts, such as ['my_parts']")
    for module in modules:
        import_own(module)


def find_algorithm(name: str) -> tuple[type[Agent], type]:
    """The algorithm of a name and the class of its config.

    Raises:
        ValueError: if there is none.
    """
    if not isinstance(name, str):
        raise ValueError(f"algorithm ({name!r}) must be {TEXT}")
    if not is_own(name):
        return look_up("algorithm", name, ALGORITHMS)
    algorithm = load_own("algorithm", name)
    found = config_class_of(algorithm)
    if found is None:
        raise ValueError(f"algorithm {name!r} must be a subclass of Algorithm[Config, State], which names its config")
    return algorithm, found


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
    env, env_params = environment or _make_environment(config)
    make_torso = look_up("torso", config.torso, TORSOS)
    choose_head = _head_chooser(config, env, env_params)
    replaced = []

    def make_network(head: nn.Module) -> Network:
        extractor = _feature_extractor(config, env, env_params)
        torso = make_part(
            "torso", config.torso, make_torso, _is_sequence_model, [config.features], config.torso_options
        )
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
        own = load_own("head", config.head)
        return lambda head: make_part("head", str(config.head), own, _is_module, [head], {})
    space = policy_space(env.action_space(env_params))
    return functools.partial(heads.head_by_name, space=space, name=config.head)


def config_to_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON holds them.

    Raises:
        ValueError: if JSON has nothing like one of them.
    """
    return {name: json_value(name, value) for name, value in dataclasses.asdict(config).items()}


def config_from_json(settings: Mapping[str, Any], origin: str) -> TrainConfig:
    """The inverse of `config_to_json`; a setting that is not there has its default.

    Args:
        settings: what `config_to_json` returned.
        origin: place they were read from, for messages.

    Raises:
        ValueError: if there are settings that do not exist, or values that are not valid.
    """
    _check_fields(settings, TrainConfig, origin)
    import_all(settings.get("imports", ()), origin)
    algorithm = settings.get("algorithm", TrainConfig.algorithm)
    if not isinstance(algorithm, str):
        raise ValueError(f"{origin}: algorithm ({algorithm!r}) must be {TEXT}")
    _, config_class = find_algorithm(algorithm)
    hyperparameters = settings.get("hyperparameters")
    hyperparameters = {} if hyperparameters is None else hyperparameters
    if not isinstance(hyperparameters, Mapping):
        raise ValueError(f"{origin}: hyperparameters ({hyperparameters!r}) must be settings by name")
    _check_fields(hyperparameters, config_class, origin)
    fields = {**_typed(settings, TrainConfig), "hyperparameters": config_class(**_typed(hyperparameters, config_class))}
    return TrainConfig(**fields)


def read_config_file(path: Path) -> TrainConfig:
    """The config in a file: `config.json` of a run, or settings alone as JSON or YAML.

    Raises:
        ValueError: if there is no such file or it holds no settings.
    """
    if not path.is_file():
        raise ValueError(f"config ({path}) is no file: name config.json of a run, or a YAML file of settings")
    content = parse_settings(path)
    if not isinstance(content, dict):
        raise ValueError(f"config ({path}) must hold settings by name")
    return config_from_json(content.get("config", content), str(path))


class _SetTwiceError(Exception):
    """A name is there twice, of which JSON and YAML would take the last."""


def parse_settings(path: Path, what: str = "config") -> Any:
    """What a file holds: JSON where its name ends in .json, otherwise YAML, in which `1e-3` is a number too.

    Args:
        path: the file.
        what: what it is a file of, for messages.

    Raises:
        ValueError: if it cannot be read as such, or sets something twice.
    """
    # Here rather than above: few runs need it.
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML asks for a point in a number with an exponent, and for the exponent's sign."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            # Before `<<` is resolved, which puts what it brings beside the names that stand in its place.
            node = super().compose_mapping_node(anchor)
            _each_once([(key.value, None) for key, _ in node.value])
            return node

    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        if path.suffix == ".json":
            return json.loads(path.read_text(), object_pairs_hook=_each_once)
        return yaml.load(path.read_text(), Loader)
    except _SetTwiceError as error:
        raise ValueError(f"{what} ({path}) sets {error} twice") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{what} ({path}) is neither JSON nor YAML: {error}") from error


def _each_once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Names and their values, once none is there twice."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1 and isinstance(name, str):
            raise _SetTwiceError(name)
    return dict(pairs)


def _check_fields(settings: Mapping[str, Any], config_class: type, origin: str) -> None:
    known = [field.name for field in dataclasses.fields(config_class)]
    for name in settings:
        if name not in known:
            close = suggest(str(name), known)
            remedy = "a hyperparameter of the algorithm stands under hyperparameters, and a config.json is read by the "
            remedy += "version of memorax that wrote it"
            raise ValueError(
                f"{origin} has an unknown setting of {config_class.__name__}: {name}{close or f'; {remedy}'}"
            )


def _typed(settings: Mapping[str, Any], config_class: type) -> dict[str, Any]:
    """Settings as their class has them: JSON makes lists of tuples, at any depth."""
    hints = typing.get_type_hints(config_class)
    return {name: _tuples(value) if "tuple" in str(hints[name]) else value for name, value in settings.items()}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(member) for member in value) if isinstance(value, list) else value


def _is_module(made: Any) -> bool:
    return isinstance(made, nn.Module)


def _is_sequence_model(made: Any) -> bool:
    return isinstance(made, nn.Module) and hasattr(made, "initialize_carry")


def _make_environment(config: TrainConfig) -> tuple[Environment, PyTree]:
    options = _environment_options(config)
    # One of a suite's names has two colons, which `make` tells.
    if is_own(config.environment) and config.environment.partition(":")[0] not in SUITES:
        check_own_options("environment", config.environment, options)
    return memorax.make(config.environment, **options)


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
    reward_space = Box(-float("inf"), float("inf"), (1,))
    return FeatureExtractor(
        observation_extractor=_observation_encoder(config, env.observation_space(env_params)),
        action_extractor=SpaceEncoder(policy_space(env.action_space(env_params))) if config.previous_action else None,
        reward_extractor=SpaceEncoder(reward_space) if config.previous_reward else None,
        done_extractor=SpaceEncoder(Box(0.0, 1.0, (1,))) if config.episode_start else None,
    )


def _observation_encoder(config: TrainConfig, space: Space) -> nn.Module:
    if config.encoder is None:
        return observation_encoder(space, config.features)
    own = load_own("encoder", config.encoder)
    encoder: nn.Module = make_part("encoder", config.encoder, own, _is_module, [space, config.features], {})
    return encoder
