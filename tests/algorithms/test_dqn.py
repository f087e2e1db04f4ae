"""What is DQN's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import DQN, DQNConfig
from memorax.algorithms.algorithm import NOTHING_TO_LEARN
from memorax.buffers import SequenceBuffer
from memorax.networks import TORSOS, unroll
from memorax.testing import check_close
from memorax.training import train
from tests.algorithms import reference
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import ContinuousTarget, CueRecall, EndlessReward


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_updates": 0}, "num_updates (0) must be greater than 0"),
        ({"tau": 1.5}, "tau (1.5) must lie between 0 and 1"),
        ({"buffer_size": 16}, "batch_size (32) must not exceed buffer_size (16)"),
        ({"learning_starts": -1}, "learning_starts (-1) must not be negative"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        DQNConfig(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize("double", [True, False])
def test_targets_losses_and_an_update_are_those_of_the_papers(double: bool) -> None:
    """Two-step targets of both kinds, the Huber loss, and a target network that comes half of the way."""
    cfg = dataclasses.replace(
        CONFIGS["dqn"], double=double, n_steps=2, gamma=0.9, num_updates=1, target_update_period=1, tau=0.5
    )
    agent = reference.small_agent("dqn", cfg, reference.Walk())

    @jax.jit
    def learn(key: Any) -> Any:
        key, state = agent.warmup(*agent.init(key), 128)
        other = reference.randomized(jax.random.key(1), state.learner).variables
        state = state.replace(learner=reference.randomized(key, state.learner), target_params=other)
        batch = agent.buffer.sample(jax.random.split(key, 1)[0], state.buffer)
        state, trajectory = agent.act(key, state)
        return state, batch, *agent._learn(key, state, trajectory)

    state, batch, after, metrics = jax.device_get(learn(jax.random.key(0)))
    old, target = (reference.named(variables) for variables in (state.params, state.target_params))
    seen, steps = batch.steps.timesteps.observation, batch.steps
    online, other = (reference.output(params, seen) for params in (old, target))
    bootstraps = reference.of_action(other, (online if double else other).argmax(-1))
    rewards, rest, known = reference.n_step_goals(steps, bootstraps, cfg.gamma, cfg.n_steps, cfg.burn_in)
    assert 0 < known.sum() < known.size
    assert ((rest == 0) & known).any(), "some of them end"

    def errors(params: reference.Params) -> np.ndarray:
        values = reference.of_action(reference.output(params, seen), steps.action)[:, cfg.burn_in : -1]
        return (values - rewards - rest)[known]

    def loss(params: reference.Params) -> float:
        return reference.huber(errors(params)).mean()

    assert np.abs(errors(old)).min() < 1 < np.abs(errors(old)).max()
    for metric, expected in {
        "q_loss": loss(old),
        "td_error": np.abs(errors(old)).mean(),
        "known_targets": known.mean(),
    }.items():
        check_close(metrics[metric], expected, truth=metric)
    new, expected = reference.named(after.params), reference.descend(loss, old)
    check_close(*(jax.tree.map(np.subtract, params, old) for params in (new, expected)))
    halfway = jax.tree.map(lambda online, target: 0.5 * (online + target), expected, target)
    check_close(reference.named(after.target_params), halfway)
    assert (int(after.updates), int(after.targets)) == (1, known.sum())


def test_warmup_fills_the_buffer_and_learns_nothing() -> None:
    agent = make_agent("dqn", CueRecall(), None, TORSOS["gru"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    params = jax.tree.map(np.asarray, state.params)
    assert not bool(agent.buffer.can_sample(state.buffer))
    key, state = agent.warmup(key, state, 100)
    assert int(state.step) == 112, "rounded up to whole rollouts of 4 x 4 steps"
    assert bool(agent.buffer.can_sample(state.buffer))
    assert int(state.updates) == 0
    jax.tree.map(np.testing.assert_array_equal, params, state.params)


def test_learning_waits_for_learning_starts() -> None:
    cfg = dataclasses.replace(CONFIGS["dqn"], learning_starts=64)
    agent = make_agent("dqn", CueRecall(), None, TORSOS["gru"](FEATURES), cfg)
    _, state, metrics = agent.train(*agent.init(jax.random.key(0)), 80, keep=lambda transition, metrics: metrics)
    waiting = np.isnan(metrics["q_loss"])
    np.testing.assert_array_equal(waiting, [True, True, True, False, False])
    assert int(state.updates) == 2 * cfg.num_updates


def test_the_buffer_is_taken_over_and_not_copied() -> None:
    agent = make_agent("dqn", CueRecall(), None, TORSOS["gru"](FEATURES))
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 64)
    _, after, _ = agent.train(key, state, 16)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.buffer.storage))
    assert not any(x.is_deleted() for x in jax.tree.leaves((state.params, after)))


def test_the_target_network_follows_in_updates() -> None:
    cfg = dataclasses.replace(CONFIGS["dqn"], target_update_period=3, num_updates=1, learning_starts=0)
    agent = make_agent("dqn", CueRecall(), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 64)

    def follows(state) -> bool:
        same = jax.tree.map(np.array_equal, state.params, state.target_params)
        return all(jax.tree.leaves(same))

    followed = []
    for _ in range(6):
        key, state, _ = agent.train(key, state, 1)
        followed.append(follows(state))
    assert followed == [False, False, True, False, False, True]


def test_buffer_and_epsilon_schedule_can_be_given() -> None:
    template = make_agent("dqn", CueRecall(), None, TORSOS["gru"](FEATURES))
    buffer = SequenceBuffer(capacity=256, sequence_length=8, batch_size=2)
    agent = DQN(
        cfg=template.cfg,
        env=template.env,
        env_params=None,
        q_network=template.q_network,
        optimizer=optax.adam(1e-3),
        buffer=buffer,
        epsilon_schedule=optax.constant_schedule(0.0),
    )
    key, state = agent.init(jax.random.key(0))
    _, trajectory = agent.act(key, state)
    _, q_values = unroll(agent.q_network, state.params, trajectory.timesteps, state.worker.carry)
    np.testing.assert_array_equal(trajectory.action, jnp.argmax(q_values, axis=-1))
    assert agent.buffer is buffer


def test_actions_that_cannot_be_enumerated_are_an_error() -> None:
    with pytest.raises(ValueError) as error:
        make_agent("dqn", ContinuousTarget(), None, TORSOS["mlp"](FEATURES))
    assert str(error.value) == "DQN needs a Discrete action space, but that of ContinuousTarget is Box: use PPO or SAC"


def test_updates_that_never_have_a_target_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Where every step is cut by a time limit nothing can be learned; the training loop says so too."""
    agent = make_agent("dqn", EndlessReward(limit=1), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    before = jax.tree.map(np.asarray, state.params)
    with pytest.warns(UserWarning, match="no replayed step has a known successor"):
        key, state, _ = agent.train(key, state, 64)
    jax.tree.map(np.testing.assert_array_equal, before, state.params)
    train(agent, 64, loggers=[], log_interval=64, evaluation_steps=16)
    told = [record.getMessage() for record in caplog.records]
    assert told.count(NOTHING_TO_LEARN) == 1
    assert all(message.startswith("every episode of seed 0") for message in told if message != NOTHING_TO_LEARN), told


def test_nothing_is_told_where_some_steps_have_a_target(recwarn: pytest.WarningsRecorder) -> None:
    agent = make_agent("dqn", EndlessReward(limit=2), None, TORSOS["mlp"](FEATURES))
    agent.train(*agent.init(jax.random.key(0)), 64)
    assert not recwarn
