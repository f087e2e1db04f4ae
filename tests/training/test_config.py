from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from memorax.algorithms import DQN, PPO, ACLambdaConfig, DQNConfig, PPOConfig
from memorax.cli.train import parse
from memorax.environments.wrappers import NormalizeObservation, NormalizeReward
from memorax.networks import RNN, TORSOS, heads
from memorax.training import TrainConfig, build_agent, load_run, run_config
from memorax.training.config import _typed, config_from_json, config_to_json, parse_settings, read_config_file
from memorax.training.optimizers import OPTIMIZERS, make_optimizer
from memorax.training.options import format_options, parse_options
from tests.training.small import CONFIG, STEPS


def test_config_survives_json() -> None:
    config = dataclasses.replace(CONFIG, environment_options={"mask_observation": (0, 2)})
    restored = config_from_json(json.loads(json.dumps(config_to_json(config))), "here")
    assert restored == dataclasses.replace(config, environment_options={"mask_observation": [0, 2]})
    config = dataclasses.replace(CONFIG, torso_options={"depth": 2}, tags=("a", "b"), optimizer="sgd")
    assert config_from_json(json.loads(json.dumps(config_to_json(config))), "here") == config


def test_unknown_and_missing_settings_are_named() -> None:
    settings = config_to_json(CONFIG)
    with pytest.raises(ValueError, match=r"here has an unknown setting of TrainConfig: torsos: did you mean 'torso'"):
        config_from_json(settings | {"torsos": 1}, "here")
    with pytest.raises(ValueError, match="here has an unknown setting of PPOConfig: colour"):
        config_from_json(settings | {"hyperparameters": settings["hyperparameters"] | {"colour": 1}}, "here")


def test_settings_that_were_added_later_have_their_defaults() -> None:
    settings = config_to_json(CONFIG)
    for name in ("torso_options", "optimizer", "imports"):
        del settings[name]
    del settings["hyperparameters"]["target_kl"]
    assert config_from_json(settings, "here") == CONFIG
    assert config_from_json({}, "here") == TrainConfig()


def test_numbers_may_be_of_numpy() -> None:
    config = dataclasses.replace(CONFIG, learning_rate=np.float32(0.5), total_steps=np.int64(64))
    settings = json.loads(json.dumps(config_to_json(config)))
    assert (settings["learning_rate"], settings["total_steps"]) == (0.5, 64)


@pytest.mark.parametrize("value", [1e5, "1e5", "100000", 100_000])
def test_counts_of_steps_are_whole_numbers_however_written(value: object) -> None:
    config = TrainConfig(total_steps=value, log_interval=value)  # type: ignore[arg-type]
    assert (config.total_steps, config.log_interval) == (100_000, 100_000)
    assert isinstance(config.total_steps, int)


@pytest.mark.parametrize("value", [1.5, "many", True, float("inf"), float("nan")])
def test_counts_of_steps_that_are_no_whole_numbers_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"total_steps \(.*\) must be a whole number, such as 100000 or 1e5"):
        TrainConfig(total_steps=value)  # type: ignore[arg-type]


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="unknown algorithm 'pppo': did you mean 'ppo'"):
        TrainConfig(algorithm="pppo")
    with pytest.raises(ValueError, match="unknown torso 'gruu': did you mean 'gru'"):
        TrainConfig(torso="gruu")
    with pytest.raises(ValueError, match=r"total_steps \(-5\)"):
        TrainConfig(total_steps=-5)
    with pytest.raises(ValueError, match=r"hyperparameters \(DQNConfig\) must be a PPOConfig for 'ppo'"):
        TrainConfig(hyperparameters=DQNConfig())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"loggers": "file"}, "loggers ('file') must be a list of texts, such as ['file']"),
        ({"imports": "my_parts"}, "imports ('my_parts') must be a list of texts, such as ['my_parts']"),
        ({"torso_options": ["depth=2"]}, "torso_options (['depth=2']) must be options by name, a dictionary"),
        ({"environment": None}, "environment (None) must be text"),
        ({"head": 3}, "head (3) must be text"),
        ({"algorithm": 3}, "algorithm (3) must be text"),
        ({"imports": [3]}, "imports ([3]) must be a list of texts, such as ['3']"),
        ({"tags": ["a", 3]}, "tags (['a', 3]) must be a list of texts, such as ['a', '3']"),
        ({"torso_options": {1: 2}}, "torso_options ({1: 2}) must be options by name, a dictionary"),
        ({"checkpoint_seconds": math.nan}, "checkpoint_seconds (nan) must be a number of seconds, 0 or more"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds (-1) must be a number of seconds, 0 or more"),
        ({"torso": RNN(nn.GRUCell(3))}, "torso ('RNN') must be text: a name or, of one of your own, MODULE:ATTRIBUTE"),
    ],
)
def test_settings_of_another_kind_are_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        TrainConfig(**setting)
    assert str(raised.value).startswith(message) and "\n" not in str(raised.value)


def test_what_is_no_config_is_named() -> None:
    with pytest.raises(ValueError, match=r"^config \(dict\) must be a TrainConfig$"):
        build_agent({"torso": "gru"})  # type: ignore[arg-type]


def test_hyperparameters_default_to_those_of_the_algorithm() -> None:
    assert TrainConfig(algorithm="ppo").hyperparameters == PPOConfig()
    assert TrainConfig(algorithm="dqn").hyperparameters == DQNConfig()


def test_builds_the_agent_that_is_described() -> None:
    agent = build_agent(dataclasses.replace(CONFIG, previous_action=True, previous_reward=True, episode_start=True))
    assert isinstance(agent, PPO)
    assert agent.cfg is CONFIG.hyperparameters
    extractor = agent.actor_network.feature_extractor
    assert None not in (extractor.action_extractor, extractor.reward_extractor, extractor.done_extractor)
    assert build_agent(CONFIG).actor_network.feature_extractor.done_extractor is None
    assert isinstance(build_agent(TrainConfig(algorithm="dqn", features=4)), DQN)


def test_options_are_python_values_or_text() -> None:
    options = {"limit": 200, "mask_observation": (0, 2), "kind": "easy", "slippery": True}
    assert parse_options(["limit=200", "mask_observation=(0,2)", "kind=easy", "slippery=True"]) == options
    assert parse_options(format_options(options)) == options
    with pytest.raises(ValueError, match="option 'limit' must be NAME=VALUE"):
        parse_options(["limit"])
    with pytest.raises(ValueError, match=r"^option limit is set twice: leave one of them out$"):
        parse_options(["limit=1", "kind=easy", "limit=2"])


def test_options_are_read_as_other_languages_write_them() -> None:
    read = parse_options(["slippery=false", "windy=TRUE", "high=[inf,-inf]", "limit= 1e3", "name=infinite"])
    assert read == {
        "slippery": False,
        "windy": True,
        "high": [math.inf, -math.inf],
        "limit": 1000.0,
        "name": "infinite",
    }
    assert parse_options(format_options(read)) == read
    with pytest.raises(ValueError, match=r"option kinds: \[a,b\] is no Python literal: text in it needs quotes"):
        parse_options(["kinds=[a,b]"])


def test_a_config_is_read_from_a_file(tmp_path: Path) -> None:
    content = {"versions": {}, "config": config_to_json(CONFIG)}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert read_config_file(tmp_path / "config.json") == CONFIG
    (tmp_path / "mine.yaml").write_text(
        "torso: lstm\ntotal_steps: 1e5\nhyperparameters:\n  gamma: 9e-1\ntags: [a, b]\n"
    )
    expected = TrainConfig(PPOConfig(gamma=0.9), torso="lstm", total_steps=100_000, tags=("a", "b"))
    assert read_config_file(tmp_path / "mine.yaml") == expected
    for content, message in (
        ("torso: [", "is neither JSON nor YAML"),
        ("torso: gru\nseed: 3\ntorso: lstm", r"^config \(.*mine\.yaml\) sets torso twice$"),
        ("hyperparameters:\n  gamma: 0.5\n  gamma: 0.9", "sets gamma twice"),
        ("only words", "must hold settings by name"),
        ("loggers: file", r"loggers \('file'\) must be a list of texts, such as \['file'\]"),
        ("hyperparameters: 3", r"hyperparameters \(3\) must be settings by name"),
        ("hyperparameters: []", r"hyperparameters \(\[\]\) must be settings by name"),
        ("imports: json", r"mine.yaml: imports \('json'\) must be a list of texts, such as \['my_parts'\]"),
        ("imports: null", r"mine.yaml: imports \(None\) must be a list of texts"),
        ("algorithm: null", r"mine.yaml: algorithm \(None\) must be text"),
        ("1: 2", "unknown setting of TrainConfig: 1"),
        ("torsos: gru", "unknown setting of TrainConfig: torsos: did you mean 'torso'"),
    ):
        (tmp_path / "mine.yaml").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_config_file(tmp_path / "mine.yaml")
    # What `<<` brings may be set anew, wherever it is brought from.
    (tmp_path / "mine.yaml").write_text("a:\n  b: &b\n    <<: {x: 1}\n    x: 2\nc:\n  <<: *b\n  x: 3\n")
    assert parse_settings(tmp_path / "mine.yaml") == {"a": {"b": {"x": 2}}, "c": {"x": 3}}
    (tmp_path / "mine.json").write_text('{"seed": 1, "seed": 2}')
    with pytest.raises(ValueError, match="sets seed twice"):
        read_config_file(tmp_path / "mine.json")
    with pytest.raises(ValueError, match="is no file: name config"):
        read_config_file(tmp_path / "nowhere.yaml")


def test_options_of_torsos_and_optimizers_reach_them() -> None:
    agent = build_agent(dataclasses.replace(CONFIG, torso="attention", torso_options={"context_length": 7}))
    assert agent.networks["actor_network"].torso.context_length == 7
    for settings, message in (
        (
            {"torso": "attention", "torso_options": {"contxt": 1}},
            r"'attention' has no option 'contxt'.*valid: num",
        ),
        ({"torso_options": {"depth": "x"}}, r"torso 'gru': option depth \('x'\) must be a value like 1"),
        ({"torso_options": {"features": 3}}, "torso 'gru' has no option 'features'"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean 'adam'"),
        ({"optimizer_options": {"momentum": 0.9}}, "optimizer 'adam' has no option 'momentum'"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(CONFIG, **settings)
    with pytest.raises(ValueError, match=r"torso option depth \(0\) must be at least 1"):
        build_agent(dataclasses.replace(CONFIG, torso_options={"depth": 0}))


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        ("adam", {"b1": 2.0}, r"optimizer 'adam': option b1 \(2.0\) must be a number from 0 up to, but without, 1"),
        ("adam", {"b2": 1.0}, r"option b2 \(1.0\) must be a number from 0"),
        ("sgd", {"momentum": "x"}, r"option momentum \('x'\) must be a number from 0"),
        ("rmsprop", {"decay": -0.1}, r"option decay \(-0.1\) must be a number from 0"),
        ("adamw", {"weight_decay": math.nan}, r"option weight_decay \(nan\) must be finite"),
        ("adamw", {"weight_decay": -0.1}, r"option weight_decay \(-0.1\) must be a number, 0 or more"),
        ("adam", {"eps": math.inf}, r"option eps \(inf\) must be finite"),
    ],
)
def test_options_of_optimizers_lie_in_their_range(optimizer: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, optimizer=optimizer, optimizer_options=options)
    with pytest.raises(ValueError, match=message):
        make_optimizer(optimizer, 0.1, 1.0, options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends(name: str) -> None:
    optimizer = make_optimizer(name, 0.01, 10.0, {})
    params = {"w": jax.numpy.array([2.0, -3.0])}
    state = optimizer.init(params)
    updates, _ = optimizer.update(params, state, params)
    assert (np.sign(updates["w"]) == [-1.0, 1.0]).all()


def test_the_critic_may_have_a_rate_of_its_own() -> None:
    agent = build_agent(dataclasses.replace(CONFIG, optimizer="sgd", learning_rate=0.5, critic_learning_rate=0.25))
    params = {"w": jax.numpy.array([0.1])}
    steps = [
        optimizer.update(params, optimizer.init(params), params)[0]["w"]
        for optimizer in (agent.actor_optimizer, agent.critic_optimizer)
    ]
    np.testing.assert_allclose(np.ravel(steps), [-0.05, -0.025], rtol=1e-6)
    with pytest.raises(ValueError, match=r"critic_learning_rate \(0.1\) must be left out: dqn has no critic"):
        build_agent(TrainConfig(algorithm="dqn", critic_learning_rate=0.1))


def test_an_algorithm_may_have_optimizers_of_its_own() -> None:
    """By default, at a rate of their own unless one is given; another optimizer stands in by its name."""
    config = dataclasses.replace(CONFIG, algorithm="ac_lambda", hyperparameters=ACLambdaConfig())

    def moved(**settings: Any) -> list[float]:
        agent, params = build_agent(dataclasses.replace(config, **settings)), {"w": jax.numpy.array([8.0])}
        return [
            float(optimizer.update(params, optimizer.init(params), params, td_error=jax.numpy.ones(()))[0]["w"][0])
            for optimizer in map(optax.with_extra_args_support, (agent.actor_optimizer, agent.critic_optimizer))
        ]

    np.testing.assert_allclose(moved(), [-1 / 3, -1 / 2], rtol=1e-6)
    np.testing.assert_allclose(moved(learning_rate=0.01), [-0.08, -0.08], rtol=1e-6)
    np.testing.assert_allclose(moved(critic_learning_rate=0.01), [-1 / 3, -0.08], rtol=1e-6)
    np.testing.assert_allclose(moved(optimizer="sgd", learning_rate=0.5), [-0.25, -0.25], rtol=1e-6)
    with pytest.raises(ValueError, match=r"optimizer_options \{'eps': 1\} need the name of an optimizer"):
        dataclasses.replace(config, optimizer_options={"eps": 1})


def test_the_rate_may_be_annealed_over_the_run() -> None:
    config = dataclasses.replace(CONFIG, optimizer="sgd", learning_rate=0.5, total_steps=1000, anneal_lr=True)
    optimizer = build_agent(config).actor_optimizer
    params = {"w": jax.numpy.array([0.1])}
    state = optimizer.init(params)
    moved = [optimizer.update(params, state, params, step=step)[0]["w"] for step in (0, 500, 1000)]
    np.testing.assert_allclose(np.ravel(moved), [-0.05, -0.025, 0.0], rtol=1e-6)


def test_normalization_has_flags() -> None:
    environment = "popgym::PositionOnlyCartPoleEasy"
    config = dataclasses.replace(CONFIG, environment=environment, normalize_observation=True, normalize_reward=True)
    normalized: Any = build_agent(config).env
    assert isinstance(normalized, NormalizeObservation)
    assert isinstance(normalized.env, NormalizeReward)
    assert normalized.env.gamma == CONFIG.hyperparameters.gamma


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A module in the working directory, and a function that forgets it as another process would."""

    def forget() -> None:
        TORSOS.pop("named", None)
        sys.modules.pop("own_parts", None)

    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield forget
    forget()


OWN = """
import flax.linen as nn
import memorax
from memorax.algorithms import PPO
from memorax.networks import MLP, RNN, TORSOS, heads

class Mine(PPO):
    pass

def environment(length=3):
    return memorax.make("memory::MemoryChain", memory_length=length)

def torso(features, cells=1):
    return RNN(nn.GRUCell(features * cells))

def encoder(space, features):
    return MLP((features, features))

def head(head):
    return heads.VNetwork() if isinstance(head, heads.VNetwork) else heads.Categorical(head.action_dim)

TORSOS["named"] = torso
"""


def test_parts_of_ones_own_are_named_in_the_config_and_found_again(
    tmp_path: Path, own_parts: Callable[[], None]
) -> None:
    own = {name: f"own_parts:{name}" for name in ("environment", "torso", "encoder", "head")}
    config = dataclasses.replace(
        CONFIG,
        **own,
        algorithm="own_parts:Mine",
        environment_options={"length": 4},
        torso_options={"cells": 2},
        total_steps=STEPS,
    )
    folder, _ = run_config(config, tmp_path / "run")
    own_parts()
    loaded = load_run(folder)
    assert loaded.config == config
    assert type(loaded.agent).__name__ == "Mine"
    assert loaded.agent.networks["actor_network"].torso.cell.features == 8
    for settings, message in (
        ({"torso": "nowhere_at_all:torso"}, "there is no module 'nowhere_at_all' in .*: go to its folder, or set"),
        ({"torso": "own_parts:tors"}, "module own_parts has no 'tors': did you mean"),
        ({"algorithm": "own_parts:torso"}, "must be a subclass of Algorithm"),
        ({"encoder": "encoder"}, r"encoder \(encoder\) must be MODULE:ATTRIBUTE"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(config, **settings)


@pytest.mark.parametrize(
    ("kind", "names", "must_be"),
    [
        ("environment", ["json:loads", "os:path", "os:sep"], "a class or a function of the environment's options that"),
        ("torso", ["json:loads", "os:path", "builtins:repr"], "a function of features and of options that returns"),
        ("head", ["json:loads", "os:sep", "builtins:repr"], "a function of a head that returns the head to use"),
        ("encoder", ["json:loads", "os:sep", "operator:is_"], "a function of the observation space and features that"),
        ("optimizer", ["json:loads", "os:sep", "builtins:float"], "a function of the learning rate and of options"),
        ("algorithm", ["json:loads", "os:sep"], "a subclass of Algorithm[Config, State]"),
    ],
)
def test_what_is_no_part_of_its_kind_says_what_it_must_be(kind: str, names: list[str], must_be: str) -> None:
    for name in names:
        with pytest.raises(ValueError) as raised:
            build_agent(dataclasses.replace(CONFIG, **{kind: name}))
        assert str(raised.value).startswith(f"{kind} {name!r} ")
        assert f"must be {must_be}" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_an_error_within_a_part_of_ones_own_keeps_its_traceback(tmp_path: Path, own_parts: Callable[[], None]) -> None:
    (tmp_path / "own_parts.py").write_text(
        "def sum_of(features):\n    return features + None\n\ndef torso(features):\n    return sum_of(features)\n"
    )
    with pytest.raises(TypeError, match="unsupported operand"):
        build_agent(dataclasses.replace(CONFIG, torso="own_parts:torso"))
    with pytest.raises(ValueError, match=r"raised TypeError in line 2 of own_parts\.py: unsupported operand"):
        build_agent(dataclasses.replace(CONFIG, torso="own_parts:sum_of"))


def test_modules_are_imported_that_add_parts(own_parts: Callable[[], None]) -> None:
    config = parse(["--import", "own_parts", "--torso", "named", "--features", "4"]).config
    assert config.imports == ("own_parts",)
    own_parts()
    assert config_from_json(config_to_json(config), "here") == config


@pytest.mark.parametrize(
    ("algorithm", "name", "expected"),
    [
        ("dqn", "c51", ["C51"]),
        ("r2d2", "quantile", ["Quantiles"]),
        ("ppo", "hl_gauss", ["Categorical", "HLGauss"]),
        ("shared_ppo", "hl_gauss", ["Categorical", "HLGauss"]),
    ],
)
def test_a_head_is_chosen_by_name(algorithm: str, name: str, expected: list[str]) -> None:
    agent = build_agent(TrainConfig(environment="memory::TMaze", algorithm=algorithm, torso="mlp", head=name))
    found = []
    for network in agent.networks.values():
        for part in (network.head, *(getattr(network.head, field, None) for field in ("policy_head", "value_head"))):
            if part is not None and type(part).__name__ in ("Categorical", "DiscreteQNetwork", "VNetwork"):
                representation = getattr(part, "representation", part)
                found.append(type(representation).__name__)
    assert sorted(found) == sorted(expected)


def test_a_policy_head_is_chosen_by_name() -> None:
    settings = {"environment": "gymnax::Pendulum-v1", "algorithm": "ppo", "torso": "mlp"}
    agent = build_agent(TrainConfig(head="beta", **settings))
    assert isinstance(agent.networks["actor_network"].head, heads.Beta)
    assert isinstance(agent.networks["critic_network"].head, heads.VNetwork)


def test_a_head_that_does_not_exist_or_fits_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown head 'c52'"):
        TrainConfig(head="c52")
    with pytest.raises(ValueError, match=r"head \(beta\) fits none of the networks of dqn"):
        build_agent(TrainConfig(environment="memory::TMaze", algorithm="dqn", torso="mlp", head="beta"))


def test_parameters_of_a_single_agent_cannot_be_separate() -> None:
    with pytest.raises(ValueError, match="agent_id"):
        build_agent(TrainConfig(environment="memory::TMaze", algorithm="ippo", separate_parameters=True))


@dataclasses.dataclass(frozen=True)
class _Nested:
    layers: tuple[tuple[int, ...], ...] = ()
    widths: tuple[int, ...] | None = None
    names: list[str] | None = None


def test_tuples_of_hyperparameters_survive_json_at_any_depth() -> None:
    written = json.loads(json.dumps(dataclasses.asdict(_Nested(((1, 2), (3,)), (5,), ["a"]))))
    assert _Nested(**_typed(written, _Nested)) == _Nested(((1, 2), (3,)), (5,), ["a"])


@pytest.mark.parametrize(("text", "value"), [("2.5e5", 2.5e5), ("1e-3", 1e-3), ("-1.e3", -1e3), (".5e1", 5.0)])
def test_numbers_with_an_exponent_are_numbers_in_yaml(tmp_path: Path, text: str, value: float) -> None:
    (tmp_path / "a.yaml").write_text(f"x: {text}\ny: [{text}]\nz: e1")
    assert parse_settings(tmp_path / "a.yaml") == {"x": value, "y": [value], "z": "e1"}
