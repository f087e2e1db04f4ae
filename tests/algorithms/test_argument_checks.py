"""What an agent's methods are given wrongly is told in one line, before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import memorax
from memorax.algorithms import DQNConfig, PPOConfig
from memorax.algorithms.argument_checks import config_class_of, rounded_up
from memorax.networks import TORSOS
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import EndlessReward

AGENT = make_agent("dqn", EndlessReward(), None, TORSOS["mlp"](FEATURES))
STATE = jax.eval_shape(AGENT.init, jax.random.key(0))[1]
KEY = jax.random.key(0)


def stacked(state: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype), state)


def of_another() -> Any:
    cfg = DQNConfig(num_envs=8, num_steps=4, buffer_size=512, batch_size=4, sequence_length=6)
    other = make_agent("dqn", EndlessReward(), None, TORSOS["mlp"](FEATURES), cfg)
    return jax.eval_shape(other.init, KEY)[1]


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "number as key": (
        lambda: AGENT.init(7),
        "key (7) must be a random key, such as jax.random.key(0): agent.init(key)",
    ),
    "keys": (
        lambda: AGENT.init(jax.random.split(KEY, 3)),
        "key holds 3 keys: map over them with jax.vmap, agent.init(key) takes one",
    ),
    "keys of the old style": (
        lambda: AGENT.init(jax.random.split(jax.random.PRNGKey(0), 3)),
        "key holds 3 keys: map over them with jax.vmap, agent.init(key) takes one",
    ),
    "arguments swapped": (
        lambda: AGENT.train(STATE, KEY, 64),
        "key (DQNState) must be a random key, such as jax.random.key(0): agent.train(key, state, num_steps)",
    ),
    "no state": (
        lambda: AGENT.evaluate(KEY, {}, 64),
        "state (dict) must be one that DQN.init or train returned: agent.evaluate(key, state, num_steps)",
    ),
    "seeds": (
        lambda: AGENT.warmup(KEY, stacked(STATE), 64),
        "state holds 3 seeds: map over them with jax.vmap, agent.warmup(key, state, num_steps) takes one",
    ),
    "state of another agent": (
        lambda: AGENT.train(KEY, of_another(), 64),
        "state is of an agent with 8 environments: num_envs (4) is another number",
    ),
    "half a step": (
        lambda: AGENT.train(KEY, STATE, 2.5),
        "num_steps (2.5) must be a whole number, such as 100000 or 1e5",
    ),
    "no steps": (
        lambda: AGENT.evaluate(KEY, STATE, 0),
        "num_steps (0) must be at least 1: it counts steps over all environments",
    ),
    "no function": (
        lambda: AGENT.train(KEY, STATE, 64, keep="metrics"),
        "keep ('metrics') must be a function of an iteration's transitions and metrics",
    ),
    "config of another algorithm": (
        lambda: make_agent("dqn", EndlessReward(), None, TORSOS["mlp"](FEATURES), PPOConfig()),
        "cfg (PPOConfig) must be a DQNConfig, for DQN",
    ),
    "class of environments": (
        lambda: type(AGENT).build(CONFIGS["dqn"], EndlessReward, None, lambda head: head, {}),
        "env (the class EndlessReward) must be an environment: memorax.make returns one, and its parameters",
    ),
    "environment with its parameters": (
        lambda: type(AGENT).build(CONFIGS["dqn"], memorax.make(EndlessReward()), None, lambda head: head, {}),
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
    _, state = AGENT.init(KEY)
    AGENT.warmup(KEY, state, 16)
    with pytest.raises(
        ValueError, match=r"^state has lost its buffer, .*: go on with the state that was returned there$"
    ):
        AGENT.train(KEY, state, 16)


def test_keys_of_both_styles_and_steps_however_written_are_taken() -> None:
    for key in (KEY, jax.random.PRNGKey(0)):
        assert jax.eval_shape(lambda key: AGENT.train(*AGENT.init(key), "1e2")[1].step, key).shape == ()
    assert [rounded_up(number, 16) for number in (1, 16, 17.0, "1e2")] == [1, 1, 2, 7]
    assert jax.eval_shape(jax.vmap(lambda key: AGENT.init(key)[1].step), jnp.stack([KEY, KEY])).shape == (2,)


def test_an_agent_is_evaluated_in_any_number_of_environments() -> None:
    _, transitions = jax.eval_shape(lambda state: AGENT.evaluate(KEY, state, 8), of_another())
    assert transitions.reward.shape == (4, 2)


def test_the_class_of_a_config_is_found_also_where_it_is_inherited() -> None:
    assert config_class_of(type(AGENT)) is DQNConfig
    assert config_class_of(memorax.algorithms.SharedPPO) is PPOConfig
    assert config_class_of(int) is None
