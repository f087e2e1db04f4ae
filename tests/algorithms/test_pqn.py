"""What is PQN's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from memorax.algorithms import PQNConfig
from memorax.networks import TORSOS
from memorax.testing import check_close
from tests.algorithms import reference
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import ContinuousTarget, EndlessReward


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_steps": 12, "sequence_length": 5}, "sequence_length (5) must divide num_steps (12)"),
        ({"q_lambda": 1.5}, "q_lambda (1.5) must lie between 0 and 1"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        PQNConfig(**fields)
    assert str(error.value) == message


def test_sizes_and_spaces_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="Discrete"):
        make_agent("pqn", ContinuousTarget(), None, TORSOS["mlp"](FEATURES))
    cfg = dataclasses.replace(CONFIGS["pqn"], num_minibatches=3)
    with pytest.raises(ValueError, match=r"num_envs \(4\) must be divisible by num_minibatches \(3\)"):
        make_agent("pqn", EndlessReward(), None, TORSOS["gru"](FEATURES), cfg)


def test_targets_losses_and_updates_are_those_of_the_paper() -> None:
    """R = r + gamma (1 - d) (lambda R' + (1 - lambda) max Q'), bootstrapped at time limits; two epochs."""
    cfg = dataclasses.replace(CONFIGS["pqn"], num_minibatches=1, gamma=0.9, q_lambda=0.5)
    agent = reference.small_agent("pqn", cfg, reference.Walk())

    @jax.jit
    def learn(key: Any) -> Any:
        key, state = agent.init(key)
        state, trajectory = agent.act(key, state.replace(learner=reference.randomized(key, state.learner)))
        return state, trajectory, agent._targets(state, trajectory), *agent._learn(key, state, trajectory)

    state, trajectory, targets, after, metrics = jax.device_get(learn(jax.random.key(0)))
    terminated, truncated, action = trajectory.terminated, trajectory.truncated, trajectory.action
    assert terminated.any() and truncated.any()
    old = reference.named(state.learner.variables)
    greedy = reference.output(old, trajectory.final_observation).max(-1)
    going_on = ~(terminated | truncated)
    going_on[:, -1] = False
    # What lies behind a step counts by half, and all of it is bootstrapped where nothing does.
    terms = trajectory.reward + 0.9 * ~terminated * np.where(going_on, 0.5, 1.0) * greedy
    expected = reference.backwards(terms, 0.9 * 0.5 * going_on)
    check_close(targets, expected)

    def loss(params: reference.Params) -> float:
        values = reference.of_action(reference.output(params, trajectory.timesteps.observation), action)
        return (0.5 * (values - expected) ** 2).mean()

    once = reference.descend(loss, old)
    check_close(metrics["q_loss"], loss(once))
    new = reference.named(after.learner.variables)
    check_close(*(jax.tree.map(np.subtract, params, old) for params in (new, reference.descend(loss, once))))
