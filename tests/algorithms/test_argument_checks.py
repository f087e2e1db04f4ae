"""What an agent's methods are given wrongly is told in one line, before anything is compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import memorax
from memorax.algorithms import Agent, DQNConfig, PPOConfig
from memorax.algorithms.argument_checks import config_class_of, rounded_up
from memorax.networks import TORSOS
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import EndlessReward

KEY = jax.random.key(0)


@functools.cache
def an_agent() -> Agent:
    return make_agent("dqn", EndlessReward(), None, TORSOS["mlp"](FEATURES))


@functools.cache
def a_state() -> Any:
    return jax.eval_shape(an_agent().init, KEY)[1]


def stacked(state: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype), state)


def of_another() -> Any:
    cfg = DQNConfig(num_envs=8, num_steps=4, buffer_size=512, batch_size=4, sequence_length=6)
    other = make_agent("dqn", EndlessReward(), None, TORSOS["mlp"](FEATURES), cfg)
    return jax.eval_shape(other.init, KEY)[1]


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "number as key": (
        lambda: an_agent().init(7),
        "key (7) must be a random key, such as jax.random.key(0): agent.init(key)",
    ),
    "keys": (
        lambda: an_agent().init(jax.random.split(KEY, 3)),
        "key holds 3 keys: map over them with jax.vmap, agent.init(key) takes one",
    ),
    "keys of the old style": (
        lambda: an_agent().init(jax.random.split(jax.random.PRNGKey(0), 3)),
        "key holds 3 keys: map over them with jax.vmap, agent.init(key) takes one",
    ),
    "arguments swapped": (
        lambda: an_agent().train(a_state(), KEY, 64),
        "key (DQNState) must be a random key, such as jax.random.key(0): agent.train(key, state, num_steps)",
    ),
    "no state": (
        lambda: an_agent().evaluate(KEY, {}, 64),
        "state (dict) must be one that DQN.init or train returned: agent.evaluate(key, state, num_steps)",
    ),
    "seeds": (
        lambda: an_agent().warmup(KEY, stacked(a_state()), 64),
        "state holds 3 seeds: map over them with jax.vmap, agent.warmup(key, state, num_steps) takes one",
    ),
    "state of another agent": (
        lambda: an_agent().train(KEY, of_another(), 64),
        "state is of an agent with 8 environments: num_envs (4) is another number",
    ),
    "half a step": (
        lambda: an_agent().train(KEY, a_state(), 2.5),
        "num_steps (2.5) must be a whole number, such as 100000 or 1e5",
    ),
    "no steps": (
        lambda: an_agent().evaluate(KEY, a_state(), 0),
        "num_steps (0) must be at least 1: it counts steps over all environments",
    ),
    "no function": (
        lambda: an_agent().train(KEY, a_state(), 64, keep="metrics"),
        "keep ('metrics') must be a function of an iteration's transitions and metrics",
    ),
    "config of another algorithm": (
        lambda: make_agent("dqn", EndlessReward(), None, TORSOS["mlp"](FEATURES), PPOConfig()),
        "cfg (PPOConfig) must be a DQNConfig, for DQN",
    ),
    "class of environments": (
        lambda: type(an_agent()).build(CONFIGS["dqn"], EndlessReward, None, lambda head: head, {}),
        "env (the class EndlessReward) must be an environment: memorax.make returns one, and its parameters",
    ),
    "environment with its parameters": (
        lambda: type(an_agent()).build(CONFIGS["dqn"], memorax.make(EndlessReward()), None, lambda head: head, {}),
        "env (tuple) must be an environment: memorax.make returns one, and its parameters",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_line(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == message


def test_a_state_whose_buffer_was_taken_over_is_told_so() -> None:
    _, state = an_agent().init(KEY)
    an_agent().warmup(KEY, state, 16)
    with pytest.raises(
        ValueError, match=r"^state has lost its buffer, .*: go on with the state that was returned there$"
    ):
        an_agent().train(KEY, state, 16)


def test_keys_of_both_styles_and_steps_however_written_are_taken() -> None:
    for key in (KEY, jax.random.PRNGKey(0)):
        assert jax.eval_shape(lambda key: an_agent().train(*an_agent().init(key), "1e2")[1].step, key).shape == ()
    assert [rounded_up(number, 16) for number in (1, 16, 17.0, "1e2")] == [1, 1, 2, 7]
    assert jax.eval_shape(jax.vmap(lambda key: an_agent().init(key)[1].step), jnp.stack([KEY, KEY])).shape == (2,)


def test_an_agent_is_evaluated_in_any_number_of_environments() -> None:
    _, transitions = jax.eval_shape(lambda state: an_agent().evaluate(KEY, state, 8), of_another())
    assert transitions.reward.shape == (4, 2)


def test_the_class_of_a_config_is_found_also_where_it_is_inherited() -> None:
    assert config_class_of(type(an_agent())) is DQNConfig
    assert config_class_of(memorax.algorithms.SharedPPO) is PPOConfig
    assert config_class_of(int) is None
