"""What is R2D2's own."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import R2D2, R2D2Config
from memorax.learning.carry_drift import carry_drift
from memorax.learning.exploration import epsilon_ladder
from memorax.learning.replay import ReplayedSteps
from memorax.networks import TORSOS, unroll
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import ContinuousTarget, CueRecall, EndlessReward


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"period": 3}, "period (3) must divide num_steps (20)"),
        ({"carry": "fresh"}, "carry ('fresh') must be 'stored', 'zeros' or 'recomputed'"),
        ({"priority_exponent": 2.0}, "priority_exponent (2.0) must lie between 0 and 1"),
        ({"n_steps": 0}, "n_steps (0) must be greater than 0"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        R2D2Config(**fields)
    assert str(error.value) == message


def test_actions_that_cannot_be_enumerated_are_an_error() -> None:
    with pytest.raises(ValueError, match="Discrete"):
        make_agent("r2d2", ContinuousTarget(), None, TORSOS["mlp"](FEATURES))


def test_sizes_that_do_not_fit_are_an_error() -> None:
    for fields, message in (
        ({"burn_in": 8}, r"burn_in \(8\) must not exceed sequence_length \(6\)"),
        ({"batch_size": 600}, r"capacity \(512\) must be at least batch_size \(600\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make_agent(
                "r2d2", CueRecall(), None, TORSOS["gru"](FEATURES), dataclasses.replace(CONFIGS["r2d2"], **fields)
            )


def rescaled(x: float) -> float:
    return np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + 1e-3 * x


def unscaled(y: float) -> float:
    return np.sign(y) * (((np.sqrt(1 + 4e-3 * (abs(y) + 1 + 1e-3)) - 1) / 2e-3) ** 2 - 1)


@pytest.mark.parametrize("carry_from", ["stored", "zeros"])
def test_an_update_is_that_of_the_paper(carry_from: str) -> None:
    """Loss, priorities and weights against a loop over every step of every window, in float64."""
    cfg = dataclasses.replace(CONFIGS["r2d2"], carry=carry_from)
    agent = make_agent("r2d2", EndlessReward(limit=5), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 128)
    batch = agent.buffer.sample(key, state.buffer)
    params = agent.acting_params(state)
    target_params = jax.tree.map(lambda x: x + 0.05, params)
    weight = jnp.asarray([1.0, 0.5, 0.25, 1.0])
    loss, (metrics, (_, priority)) = agent._loss(params, target_params, batch, weight)
    first = jax.tree.map(lambda x: x[:, 0], batch.steps.timesteps)
    start = batch.carry if carry_from == "stored" else agent.q_network.initialize_carry(key, first)
    online, target = (
        np.asarray(unroll(agent.q_network, p, batch.steps.timesteps, start)[1], np.float64)
        for p in (params, target_params)
    )
    steps = jax.tree.map(np.asarray, batch.steps)
    total, count = 0.0, 0
    for n in range(cfg.batch_size):
        errors = []
        for t in range(cfg.burn_in, cfg.burn_in + cfg.sequence_length):
            i, rewards, discount = t, 0.0, 1.0
            while i < cfg.burn_in + cfg.sequence_length and i - t < cfg.n_steps:
                if steps.timesteps.done[n, i + 1] and not steps.terminated[n, i]:
                    break
                rewards, discount, i = rewards + discount * steps.reward[n, i], discount * cfg.gamma, i + 1
                if steps.terminated[n, i - 1]:
                    discount = 0.0
                    break
            if i == t:
                continue
            bootstrap = unscaled(target[n, i, np.argmax(online[n, i])])
            error = rescaled(rewards + discount * bootstrap) - online[n, t, steps.action[n, t]]
            errors.append(abs(error))
            total += float(weight[n]) * (0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5)
            count += 1
        np.testing.assert_allclose(priority[n], 0.9 * max(errors) + 0.1 * np.mean(errors), rtol=1e-4)
    assert 0 < count < cfg.batch_size * cfg.sequence_length, "some steps have an unknown successor"
    np.testing.assert_allclose(loss, total / count, rtol=1e-5)
    np.testing.assert_allclose(metrics["known_targets"] * cfg.batch_size * cfg.sequence_length, count, rtol=1e-6)


def test_priorities_follow_the_updates_and_the_storage_is_not_copied() -> None:
    agent = make_agent("r2d2", CueRecall(), None, TORSOS["gru"](FEATURES))
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 64)
    before = np.asarray(state.buffer.priorities.table)
    _, after, metrics = agent.train(key, state, 16, keep=lambda _, metrics: metrics)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.buffer.storage))
    assert metrics["updates"] == 2
    assert (np.asarray(after.buffer.priorities.table) != before).any()


def test_recomputed_carries_start_with_their_episode() -> None:
    """Sequences are whole episodes of five steps, each with the reset that makes the carry exact."""
    cfg = dataclasses.replace(CONFIGS["r2d2"], carry="recomputed")
    agent = make_agent("r2d2", CueRecall(), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 128)
    batch = agent.buffer.sample(key, state.buffer)
    assert batch.steps.timesteps.done[:, 0].all()
    np.testing.assert_array_equal(batch.valid.sum(axis=1), 5)
    _, state, metrics = agent.train(key, state, 16, keep=lambda _, metrics: metrics)
    assert metrics["updates"] == 2
    assert np.isfinite(metrics["q_loss"])
    assert np.isfinite(metrics["carry_drift"])


def test_without_importance_weights_every_sequence_counts_alike() -> None:
    """An exponent of zero is the update by weights of one."""
    cfg = dataclasses.replace(CONFIGS["r2d2"], importance_exponent=0.0)
    agent = make_agent("r2d2", EndlessReward(limit=5), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 128)
    batch = agent.buffer.sample(key, state.buffer)
    params = agent.acting_params(state)
    gradients = [
        jax.grad(lambda p, w=w: agent._loss(p, params, batch, w)[0])(params)
        for w in (jnp.ones(4), (7 * batch.probability) ** -cfg.importance_exponent)
    ]
    jax.tree.map(np.testing.assert_array_equal, *gradients)


def test_each_environment_explores_with_an_epsilon_of_its_own() -> None:
    np.testing.assert_allclose(epsilon_ladder(8), [0.4 ** (1 + i) for i in range(8)], rtol=1e-5)
    np.testing.assert_allclose(epsilon_ladder(1), 0.4**4.5, rtol=1e-5)
    cfg = dataclasses.replace(CONFIGS["r2d2"], epsilon_base=1.0, learning_starts=0)
    agent = make_agent("r2d2", EndlessReward(), None, TORSOS["mlp"](FEATURES), cfg)
    _, state = agent.init(jax.random.key(0))
    _, transitions = agent.evaluate(jax.random.key(1), state, 4 * 100, deterministic=False)
    assert all(0.3 < np.asarray(transitions.action[i]).mean() < 0.7 for i in range(4))


def test_carries_that_have_not_drifted_give_the_outputs_of_whole_episodes() -> None:
    agent = make_agent("r2d2", CueRecall(delay=9), None, TORSOS["gru"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    rollouts = []
    for _ in range(4):
        key, act_key = jax.random.split(key)
        state, trajectory = agent.act(act_key, state)
        rollouts.append((ReplayedSteps.of(trajectory), trajectory.carry))
    steps, carries = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *rollouts)
    params = agent.acting_params(state)
    assert carry_drift(agent.q_network, params, steps, carries, burn_in=0) < 1e-5
    drifted = carry_drift(agent.q_network, jax.tree.map(lambda x: 1.3 * x, params), steps, carries, burn_in=0)
    assert drifted > 1e-3
    # One more step of burn-in leaves less of it.
    assert carry_drift(agent.q_network, jax.tree.map(lambda x: 1.3 * x, params), steps, carries, burn_in=1) < drifted


def test_a_buffer_can_be_given() -> None:
    template = make_agent("r2d2", CueRecall(), None, TORSOS["gru"](FEATURES))
    buffer = dataclasses.replace(template.buffer, batch_size=2)
    agent = R2D2(template.cfg, template.env, None, template.q_network, optax.adam(1e-3), buffer=buffer)
    assert agent.buffer is buffer
