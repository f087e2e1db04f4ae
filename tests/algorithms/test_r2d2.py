"""What is R2D2's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import R2D2, R2D2Config
from memorax.learning.carry_drift import carry_drift
from memorax.learning.exploration import epsilon_ladder
from memorax.learning.replay import ReplayedSteps
from memorax.networks import TORSOS
from memorax.testing import check_close
from tests.algorithms import reference
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
        ({"batch_size": 600}, r"batch_size \(600\) must not exceed buffer_size \(512\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make_agent(
                "r2d2", CueRecall(), None, TORSOS["gru"](FEATURES), dataclasses.replace(CONFIGS["r2d2"], **fields)
            )


def rescaled(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x


def unscaled(y: np.ndarray) -> np.ndarray:
    return np.sign(y) * (((np.sqrt(1 + 4e-3 * (np.abs(y) + 1 + 1e-3)) - 1) / 2e-3) ** 2 - 1)


def test_targets_losses_and_an_update_are_those_of_the_paper() -> None:
    """Rescaled targets of three steps, weighted losses, and the priorities that follow from them."""
    cfg = dataclasses.replace(CONFIGS["r2d2"], gamma=0.9, num_updates=1, target_update_period=1)
    agent = reference.small_agent("r2d2", cfg, reference.Walk())

    @jax.jit
    def learn(key: Any) -> Any:
        key, state = agent.warmup(*agent.init(key), 128)
        other = reference.randomized(jax.random.key(1), state.learner).variables
        state = state.replace(learner=reference.randomized(key, state.learner), target_params=other)
        table = jax.random.uniform(key, state.buffer.priorities.table.shape)
        buffer = state.buffer.replace(priorities=state.buffer.priorities.replace(table=table))
        drawn = agent.buffer.sample(jax.random.split(jax.random.split(key)[0], 1)[0], buffer)
        state, trajectory = agent.act(key, state.replace(buffer=buffer))
        return state, drawn, agent.buffer.num_windows(buffer), *agent._learn(key, state, trajectory)

    state, drawn, num_windows, after, metrics = jax.device_get(learn(jax.random.key(0)))
    old, target = (reference.named(variables) for variables in (state.params, state.target_params))
    seen, steps, probability = drawn.steps.timesteps.observation, drawn.steps, np.float64(drawn.probability)
    online, other = (reference.output(params, seen) for params in (old, target))
    bootstraps = unscaled(reference.of_action(other, online.argmax(-1)))
    rewards, rest, known = reference.n_step_goals(steps, bootstraps, cfg.gamma, cfg.n_steps, cfg.burn_in)
    assert 0 < known.sum() < known.size
    weight = (num_windows * probability) ** -cfg.importance_exponent
    weight = weight / weight.max()
    assert weight.min() < 0.9

    def errors(params: reference.Params) -> np.ndarray:
        values = reference.of_action(reference.output(params, seen), steps.action)[:, cfg.burn_in : -1]
        return np.where(known, rescaled(rewards + rest) - values, 0.0)

    def loss(params: reference.Params) -> float:
        return (weight[:, None] * reference.huber(errors(params))).sum() / known.sum()

    found = np.abs(errors(old))
    priority = 0.9 * found.max(-1) + 0.1 * found.sum(-1) / known.sum(-1)
    for metric, expected in {
        "q_loss": loss(old),
        "td_error": found[known].mean(),
        "known_targets": known.mean(),
        "priority": priority.mean(),
    }.items():
        check_close(metrics[metric], expected, truth=metric)
    new = reference.named(after.params)
    check_close(*(jax.tree.map(np.subtract, params, old) for params in (new, reference.descend(loss, old))))
    check_close(reference.named(after.target_params), new)
    table = np.float64(state.buffer.priorities.table).ravel()
    table[drawn.index.slot] = 0.0
    np.maximum.at(table, drawn.index.slot, priority**cfg.priority_exponent)
    check_close(np.ravel(after.buffer.priorities.table), table)


def test_sequences_may_start_from_the_initial_carry() -> None:
    cfg = dataclasses.replace(CONFIGS["r2d2"], carry="zeros")
    zeros, stored = (make_agent("r2d2", CueRecall(delay=9), None, TORSOS["gru"](FEATURES), c) for c in (cfg, None))

    @jax.jit
    def losses_of(key, state):
        batch = zeros.buffer.sample(key, state.buffer)
        params, weight = zeros.acting_params(state), jnp.ones(cfg.batch_size)
        initial = batch.replace(carry=jax.tree.map(jnp.zeros_like, batch.carry))
        return [
            agent._loss(params, params, drawn, weight)[0] for agent in (zeros, stored) for drawn in (batch, initial)
        ]

    losses = losses_of(*zeros.warmup(*zeros.init(jax.random.key(0)), 64))
    assert losses[0] == losses[1] == losses[3] != losses[2]


def test_priorities_follow_the_updates_and_the_storage_is_not_copied() -> None:
    agent = make_agent("r2d2", CueRecall(), None, TORSOS["gru"](FEATURES))
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 64)
    before = np.asarray(state.buffer.priorities.table)
    _, after, metrics = agent.train(key, state, 16, keep=lambda _, metrics: metrics)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.buffer.storage))
    assert metrics["updates"] == 2
    assert (np.asarray(after.buffer.priorities.table) != before).any()
    # The buffer holds 20 steps of each environment, and the drift asks for more: that is no NaN to be warned of.
    assert not metrics["carry_drift_is_known"] and np.isnan(metrics["carry_drift"])


def test_recomputed_carries_start_with_their_episode() -> None:
    """Sequences are whole episodes of five steps, each with the reset that makes the carry exact."""
    cfg = dataclasses.replace(CONFIGS["r2d2"], carry="recomputed")
    agent = make_agent("r2d2", CueRecall(), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 128)
    batch = jax.jit(agent.buffer.sample)(key, state.buffer)
    assert batch.steps.timesteps.done[:, 0].all()
    np.testing.assert_array_equal(batch.valid.sum(axis=1), 5)
    _, state, metrics = agent.train(key, state, 16, keep=lambda _, metrics: metrics)
    assert metrics["updates"] == 2
    assert np.isfinite(metrics["q_loss"])
    assert metrics["carry_drift_is_known"] and np.isfinite(metrics["carry_drift"])


def test_without_importance_weights_every_sequence_counts_alike() -> None:
    """An exponent of zero is the update by weights of one."""
    cfg = dataclasses.replace(CONFIGS["r2d2"], importance_exponent=0.0)
    agent = make_agent("r2d2", EndlessReward(limit=5), None, TORSOS["gru"](FEATURES), cfg)

    @jax.jit
    def gradients(key, state):
        batch = agent.buffer.sample(key, state.buffer)
        params = agent.acting_params(state)
        weights = jnp.ones(4), (7 * batch.probability) ** -cfg.importance_exponent
        return [jax.grad(lambda p, w=w: agent._loss(p, params, batch, w)[0])(params) for w in weights]

    jax.tree.map(np.testing.assert_array_equal, *gradients(*agent.warmup(*agent.init(jax.random.key(0)), 128)))


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

    @jax.jit
    def drifts(key, state):
        rollouts = []
        for act_key in jax.random.split(key, 4):
            state, trajectory = agent.act(act_key, state)
            rollouts.append((ReplayedSteps.of(trajectory), trajectory.carry))
        steps, carries = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *rollouts)
        params = agent.acting_params(state)
        others = jax.tree.map(lambda x: 1.3 * x, params)
        return [
            carry_drift(agent.q_network, p, steps, carries, burn_in)[0]
            for p, burn_in in ((params, 0), (others, 0), (others, 1))
        ]

    none, drifted, less = drifts(*agent.init(jax.random.key(0)))
    assert none < 1e-5
    assert drifted > 1e-3
    # One more step of burn-in leaves less of it.
    assert less < drifted


def test_a_buffer_can_be_given() -> None:
    template = make_agent("r2d2", CueRecall(), None, TORSOS["gru"](FEATURES))
    buffer = dataclasses.replace(template.buffer, batch_size=2)
    agent = R2D2(template.cfg, template.env, None, template.q_network, optax.adam(1e-3), buffer=buffer)
    assert agent.buffer is buffer
