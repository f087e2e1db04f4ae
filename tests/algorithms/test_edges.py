"""Odd environments, layers and settings: an agent learns with them, or they are refused in one line."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import memorax
from memorax.algorithms import ALGORITHMS, PPO
from memorax.algorithms.environment_checks import check_environment_types
from memorax.environments import make, registered
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.environments.wrappers import MaskObservation, TimeLimit
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network, SequenceModelWrapper, observation_encoder
from memorax.training import TrainConfig
from memorax.training.config import build_agent
from tests.catalogue import CONFIGS, make_agent
from tests.probes import EndlessReward, OthersCue

KEY = jax.random.key(0)
ALONE = [name for name in ALGORITHMS if name != "mappo"]
"""The algorithms that need no state of several agents."""


@dataclass(frozen=True)
class Game(Environment):
    """Observes elements of a space; ends after four steps, said in the types of Python."""

    space: Space = Box(0.0, 1.0, (2,))  # noqa: RUF009 - frozen, as the other spaces

    def reset(self, key: Any, params: Any) -> Any:
        return self.space.sample(key), jnp.zeros((), jnp.int32)

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        return self.space.sample(key), env_state + 1, 1.0, env_state >= 3, False, {}

    def observation_space(self, params: Any) -> Space:
        return self.space

    def action_space(self, params: Any) -> Space:
        return Discrete(2)


def build(algorithm: str, env: Environment, encoder: nn.Module | None = None, **hyperparameters: Any) -> Any:
    encoder = encoder or observation_encoder(env.observation_space(None), 4)

    def make_network(head: nn.Module) -> Network:
        return Network(FeatureExtractor(encoder), SequenceModelWrapper(MLP(4)), head)

    cfg = replace(CONFIGS[algorithm], **hyperparameters)
    return ALGORITHMS[algorithm][0].build(cfg, env, None, make_network, optax.adam(1e-3))


def shapes_of_training(agent: Any) -> Any:
    return jax.eval_shape(lambda key: agent.train(*agent.init(key), 1), KEY)


OBSERVATIONS = {
    "a part without elements": Dict({"self": Box(0.0, 1.0, (2,)), "others": Box(0.0, 1.0, (0, 3))}),
    "a small image in a dictionary": Dict({"map": Box(0, 3, (5, 5), jnp.int32), "goal": Discrete(3)}),
    "half precision": Box(-np.inf, np.inf, (2,), jnp.float16),
    "one number": Box(-1.0, 1.0),
}
ALL_AT_ONCE = Dict({name.replace(" ", "_"): space for name, space in OBSERVATIONS.items()})


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations_of_any_kind_are_learned_from(name: str) -> None:
    shapes_of_training(build("ppo", Game(OBSERVATIONS[name])))


@pytest.mark.parametrize("algorithm", ALONE)
def test_observations_of_all_kinds_are_learned_from(algorithm: str) -> None:
    shapes_of_training(build(algorithm, Game(ALL_AT_ONCE)))


@dataclass(frozen=True)
class Played(Game):
    """Takes actions of any space, in the type of that space."""

    actions: Space = Discrete(2)  # noqa: RUF009

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        assert action.dtype == self.actions.dtype
        return super().step_env(key, env_state, action, params)

    def action_space(self, params: Any) -> Space:
        return self.actions


ACTIONS = {
    "integers": Box(0, 10, (2,), jnp.int32),
    "half precision": Box(-1.0, 1.0, (2,), jnp.float16),
    "one choice in 8 bits": Discrete(2, jnp.int8),
    "choices in 8 bits": MultiDiscrete((2, 3), jnp.uint8),
}


@pytest.mark.parametrize("algorithm", ALONE)
@pytest.mark.parametrize("name", ACTIONS)
def test_actions_of_any_type_are_learned_or_refused(algorithm: str, name: str) -> None:
    try:
        agent = build(algorithm, Played(actions=ACTIONS[name]))
    except ValueError as error:
        assert "\n" not in str(error) and algorithm != "ppo"
    else:
        shapes_of_training(agent)


@pytest.mark.parametrize(
    "actions",
    [
        Box(0, 10, (2,), jnp.int32),
        Box(1000, 1010, (2,), jnp.int32),
        Box(-1, 1, (2,), jnp.int8),
        Box(0, 1, (2,), bool),
        Box(0.0, 1000.0, (2,)),
        Box(20.0, np.inf, (2,)),
    ],
)
def test_the_previous_action_is_seen_as_it_was_chosen(actions: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorax, "make", lambda *_, **__: (Played(actions=actions), None))
    agent = build_agent(TrainConfig(environment="played", features=4, previous_action=True))
    chosen = jnp.asarray([[[-1.0, 0.0], [0.5, 1.0]]])
    seen = agent.networks["actor_network"].feature_extractor.action_extractor.apply({}, chosen)
    np.testing.assert_array_equal(seen, chosen)


class Careless(Game):
    """Observes integers at first and floats later."""

    def reset(self, key: Any, params: Any) -> Any:
        return jnp.zeros((2,), jnp.int32), jnp.zeros((), jnp.int32)


class Growing(Game):
    """Its state gains a part with the first step."""

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        return self.space.sample(key), (env_state, 1), 1.0, False, False, {}


class Widening(Game):
    """Its state becomes a vector with the first step."""

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        return self.space.sample(key), env_state + jnp.zeros((3,), jnp.int32), 1.0, False, False, {}


class Turning(Game):
    """Its count becomes a fraction with the first step."""

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        return self.space.sample(key), env_state + 1.0, 1.0, False, False, {}


class Short(Game):
    """Its steps do not say whether a time limit cut them off."""

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        return self.space.sample(key), env_state, 1.0, False, {}


class NamesItsOption(Game):
    """Has a name in the place of a method."""

    memory_option: Any = "delay"


class Scaled(Game):
    """Says that it observes bytes, and observes fractions."""

    def reset(self, key: Any, params: Any) -> Any:
        return jnp.zeros((2,)), jnp.zeros((), jnp.int32)

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        return jnp.zeros((2,)), env_state + 1, 1.0, False, False, {}

    def observation_space(self, params: Any) -> Space:
        return Box(0, 255, (2,), jnp.uint8)


@dataclass(frozen=True)
class Answering(Game):
    """Its `reset`, and parts of what a step returns, are answered with what it is given."""

    first: Any = None
    answers: tuple[tuple[int, Any], ...] = ()

    def reset(self, key: Any, params: Any) -> Any:
        return super().reset(key, params) if self.first is None else self.first

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        values = list(super().step_env(key, env_state, action, params))
        for index, answer in self.answers:
            values[index] = answer
        return tuple(values)


OBSERVED, STATE, TWO = jnp.zeros(2), jnp.zeros((), jnp.int32), Box(0.0, 1.0, (2,))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            Careless(),
            r"^the observation of Careless is int32\[2\] after a reset and float32\[2\] after a step: both must",
        ),
        (Growing(), r"^the state of Growing has another structure after a step, PyTreeDef.* than after a reset"),
        (Widening(), r"^the state of Widening is int32\[\] after a reset and int32\[3\] after a step"),
        (Turning(), r"^the state of Turning is int32\[\] after a reset and float32\[\] after a step"),
        (Short(), r"^step_env of Short must return \(observation, env_state, .*, info\), and not 5 values"),
        (
            NamesItsOption(),
            r"^memory_option of NamesItsOption \('delay'\) must be a method of the environment's parameters",
        ),
        (Scaled(), r"^the observation of Scaled is float32 where its space says uint8: networks scale it by what"),
        (Answering(first=OBSERVED), r"^reset of Answering must return \(observation, env_state\), and not one array"),
        (Answering(answers=((2, None),)), r"^reward of Answering must be a number, not None"),
        (Answering(answers=((2, OBSERVED),)), r"^reward of Answering must be a single number, not float32\[2\]"),
        (Answering(answers=((3, OBSERVED > 0),)), r"^terminated of Answering must be a single number, not bool\[2\]"),
        (Answering(answers=((5, None),)), r"^the last value that step_env of Answering returns must be a dictionary, "),
        (
            Answering(answers=((5, {"won": "yes"}),)),
            r"^info\['won'\] of Answering must be an array or a tree of arrays",
        ),
        (
            Answering(first=(jnp.zeros(3), STATE), answers=((0, jnp.zeros(3)),)),
            r"^the observation of Answering is float32\[3\] where its space says float32\[2\]$",
        ),
        (
            Answering(Dict({"a": TWO, "b": TWO}), first=({"a": OBSERVED}, STATE), answers=((0, {"a": OBSERVED}),)),
            r"^the observation of Answering is {'a': 'float32\[2\]'} where its space says {'a': .*, 'b': ",
        ),
    ],
)
def test_an_environment_that_breaks_the_protocol_is_refused_when_the_agent_is_made(env: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        build("ppo", env)
    assert "\n" not in str(raised.value)


class Layered(nn.Module):
    """A dense layer around which others are set."""

    layer: nn.Module

    @nn.compact
    def __call__(self, inputs: Any) -> Any:
        return self.layer(nn.Dense(4)(inputs))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm(use_running_average=False), "has a layer that changes its own variables, such as BatchNorm"),
        (nn.BatchNorm(use_running_average=True), "has a layer that changes its own variables, such as BatchNorm"),
        (nn.Dropout(0.5, deterministic=False), "has a layer that draws random numbers, such as Dropout"),
    ],
)
def test_layers_with_state_or_noise_are_refused_when_the_agent_is_made(layer: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=f"^actor_network {message}") as raised:
        build("ppo", Game(), Layered(layer))
    assert "\n" not in str(raised.value)


def test_parameters_that_cannot_be_learned_are_refused_when_the_agent_is_made() -> None:
    class Masked(nn.Module):
        @nn.compact
        def __call__(self, inputs: Any) -> Any:
            return inputs * self.param("mask", lambda _: jnp.ones((1, 1, 4), jnp.int32))

    message = r"^actor_network has a parameter that is int32 and cannot be learned, \S*/layer/mask: make it "
    with pytest.raises(ValueError, match=message) as raised:
        build("ppo", Game(), Layered(Masked()))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("algorithm", ALONE)
def test_numbers_of_numpy_and_whole_floats_are_settings_like_any_other(algorithm: str) -> None:
    agent = build(algorithm, Game(), gamma=np.float32(0.5), num_envs=np.int64(CONFIGS[algorithm].num_envs))
    assert type(agent.cfg.num_envs) is int and type(agent.cfg.gamma) is float
    assert type(build(algorithm, Game(), num_envs=float(CONFIGS[algorithm].num_envs)).cfg.num_envs) is int
    with pytest.raises(ValueError, match=r"^num_envs \(\d.5\) must be (a whole number|1)"):
        build(algorithm, Game(), num_envs=CONFIGS[algorithm].num_envs + 0.5)


def test_rewards_and_ends_may_have_any_type_of_number() -> None:
    build("ppo", Answering(answers=((2, True), (3, jnp.zeros((), jnp.int32)), (4, 0.0), (5, {"won": 1}))))


BUILT_IN = [f"{suite}::{id}" for suite in ("memory", "popgym") for id in registered()[suite] if "Medium" not in id]


@pytest.mark.parametrize("id", [id for id in BUILT_IN if "Hard" not in id])
def test_built_in_environments_keep_their_types_where_numbers_have_64_bits(id: str) -> None:
    with jax.enable_x64(True):
        check_environment_types(*make(id))


@pytest.mark.parametrize("algorithm", ALONE)
def test_agents_train_where_numbers_have_64_bits(algorithm: str) -> None:
    with jax.enable_x64(True):
        shapes_of_training(build(algorithm, Game(Box(-np.inf, np.inf, (2,), jnp.float64))))


@pytest.mark.parametrize("algorithm", ["ppo", "dqn", "r2d2", "sac"])
def test_agents_train_where_jax_looks_for_nan(algorithm: str) -> None:
    with jax.debug_nans(True):
        agent = build(algorithm, Game())
        key, state = agent.init(KEY)
        for _ in range(2):
            key, state, _ = agent.train(key, state, 64)
        agent.evaluate(key, state, 8)


def test_an_agent_is_refused_where_jax_mixes_no_types() -> None:
    message = r"^jax_numpy_dtype_promotion \(strict\) must be standard"
    with jax.numpy_dtype_promotion("strict"), pytest.raises(ValueError, match=message):
        build("ppo", Game())


@pytest.mark.parametrize(
    ("place", "part", "message"),
    [
        (
            "feature_extractor",
            nn.Dense(3),
            "the feature extractor of actor_network (Dense) must take observations, actions",
        ),
        ("feature_extractor", TORSOS["gru"](4), "the feature extractor of actor_network (RNN) must take observations"),
        ("head", nn.Dense(2), "the head of actor_network (Dense) must be a Head"),
    ],
)
def test_parts_of_a_network_have_their_places(place: str, part: Any, message: str) -> None:
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](4))
    network = agent.actor_network.clone(**{place: part})
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        PPO(agent.cfg, agent.env, None, network, agent.critic_network, optax.adam(1e-3), optax.adam(1e-3))


class StepsByItself(Game):
    """Its own auto-reset, which forgets what an episode ended with."""

    def step(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        *rest, info = super().step(key, env_state, action, params)
        return *rest, {name: value for name, value in info.items() if name != "final_observation"}


@pytest.mark.parametrize("env", [StepsByItself(), MaskObservation(StepsByItself(), (0,))])
def test_an_environment_whose_step_shows_no_final_observation_is_refused(env: Environment) -> None:
    check_environment_types(TimeLimit(env, 3), None)  # steps by `step_env`
    message = r"^step of StepsByItself must report info\['final_observation'\], the observation that the action led to"
    with pytest.raises(ValueError, match=message) as raised:
        build("ppo", env)
    assert "\n" not in str(raised.value)


class AgentsEndApart(OthersCue):
    def step_agents(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        *rest, terminated, truncated, info = super().step_agents(key, env_state, action, params)
        return *rest, jnp.broadcast_to(terminated, (self.num_agents,)), truncated, info


def test_agents_of_an_environment_end_together() -> None:
    message = (
        r"^terminated of AgentsEndApart must be a single number, as an episode ends for all agents together, not bo"
    )
    with pytest.raises(ValueError, match=message) as raised:
        build("ppo", AgentsEndApart())
    assert "\n" not in str(raised.value)
