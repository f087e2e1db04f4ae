"""What is PQN's own."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.algorithms import PQNConfig
from memorax.algorithms.pqn import ReturnBatch
from memorax.networks import TORSOS, unroll
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


def test_targets_are_lambda_returns_of_the_greedy_policy() -> None:
    """R = r + gamma (1 - d) (lambda R' + (1 - lambda) max Q'), bootstrapped at time limits, by a loop in float64."""
    cfg = dataclasses.replace(CONFIGS["pqn"], gamma=0.9, q_lambda=0.5)
    agent = make_agent("pqn", EndlessReward(limit=3), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.init(jax.random.key(0))
    params = agent.acting_params(state)
    state, trajectory = agent.act(key, state)
    targets = np.asarray(agent._targets(state, trajectory))
    truncated = np.asarray(trajectory.truncated)
    assert truncated.any()
    for b in range(4):
        carry = jax.tree.map(lambda x, b=b: x[b : b + 1, 0], trajectory.carry)
        greedy_next = []
        for t in range(8):
            step, final = (
                jax.tree.map(lambda x, b=b, t=t: x[b : b + 1, t : t + 1], tree)
                for tree in (trajectory.timesteps, trajectory.final_observation)
            )
            carry, _ = unroll(agent.q_network, params, step, carry)
            action, reward = (x[b : b + 1, t : t + 1] for x in (trajectory.action, trajectory.reward))
            after = step.replace(observation=final, action=action, reward=reward, done=jnp.zeros((1, 1), bool))
            greedy_next.append(float(unroll(agent.q_network, params, after, carry)[1].max()))
        later = 0.0
        for t in reversed(range(8)):
            bootstrap = greedy_next[t]
            mixed = bootstrap if t == 7 or trajectory.done[b, t] else 0.5 * later + 0.5 * bootstrap
            later = float(trajectory.reward[b, t]) + 0.9 * (not trajectory.terminated[b, t]) * mixed
            np.testing.assert_allclose(targets[b, t], later, rtol=1e-4)


def test_the_loss_is_half_the_squared_error_of_the_actions_taken() -> None:
    agent = make_agent("pqn", EndlessReward(), None, TORSOS["gru"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    state, trajectory = agent.act(key, state)
    target = jax.random.normal(key, trajectory.reward.shape)
    carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
    params = agent.acting_params(state)
    _, q_values = unroll(agent.q_network, params, trajectory.timesteps, carry)
    taken = np.take_along_axis(np.asarray(q_values), np.asarray(trajectory.action)[..., None], -1)[..., 0]
    batch = ReturnBatch(trajectory.timesteps, trajectory.action, target, None, carry)
    loss, _ = agent._loss(params, batch)
    np.testing.assert_allclose(loss, 0.5 * np.mean((taken - np.asarray(target)) ** 2), rtol=1e-5)
    # Agents that are out do not count.
    batch = batch.replace(active=jnp.zeros_like(trajectory.terminated).at[0, 0].set(True))
    np.testing.assert_allclose(agent._loss(params, batch)[0], 0.5 * (taken - np.asarray(target))[0, 0] ** 2, rtol=1e-5)
