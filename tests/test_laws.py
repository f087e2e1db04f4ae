"""The truths of `memorax.testing`, over everything in the catalogue."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import memorax
from memorax import testing
from memorax.algorithms import ALGORITHMS, PPO, Algorithm, PPOConfig
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network, heads
from memorax.types import Metrics
from tests.catalogue import CONFIGS, ENVIRONMENTS, FEATURES, HEADS, make_agent
from tests.probes import ContinuousTarget, CueRecall, EndlessReward, Probe

LONG_EPISODES = {"gymnax::MountainCarContinuous-v0": 1000, "popgym::LabyrinthExploreEasy": 1100}
"""Steps within which an episode of random play ends, where it takes long."""


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment(name: str) -> None:
    testing.check_environment(*memorax.make(name), num_steps=LONG_EPISODES.get(name, 200))


KINDS_OF_TORSO = ("mlp", "gru", "lru", "mamba", "mlstm", "attention")
"""One of each kind: without memory, a cell, a diagonal recurrence, two matrix states, a window of the past."""

ELSEWHERE = ("ippo", "mappo", "sac")
"""Checked by the fast tests with several agents or continuous actions."""

CHECKED = [
    pytest.param(name, torso, marks=() if torso == "gru" and name not in ELSEWHERE else pytest.mark.slow)
    for name, torso in itertools.product(ALGORITHMS, KINDS_OF_TORSO)
]


@pytest.mark.parametrize(("algorithm", "torso"), CHECKED)
def test_algorithm(algorithm: str, torso: str) -> None:
    testing.check_algorithm(make_agent(algorithm, CueRecall(delay=3), None, TORSOS[torso](FEATURES)))


CONTINUOUS = tuple(name for name in ALGORITHMS if name not in ("dqn", "r2d2", "pqn", "q_lambda"))

CHECKED_OF_NUMBERS = [
    pytest.param(name, torso, marks=() if (name, torso) == ("sac", "gru") else pytest.mark.slow)
    for name, torso in itertools.product(CONTINUOUS, KINDS_OF_TORSO)
]


@pytest.mark.parametrize(("algorithm", "torso"), CHECKED_OF_NUMBERS)
def test_algorithm_of_continuous_actions(algorithm: str, torso: str) -> None:
    testing.check_algorithm(make_agent(algorithm, ContinuousTarget(length=3), None, TORSOS[torso](FEATURES)))


WITH_EVERY_TORSO = "shared_ppo"
"""One network makes for half as much to compile; all algorithms run their networks by the same two functions."""


def pair(algorithm: str, torso: str) -> Any:
    """One algorithm runs with every torso, the others with attention: what is left is slow.

    All are checked with a GRU (`test_algorithm`, or where `ELSEWHERE` says), and the probes have those without memory.
    """
    fast = algorithm == WITH_EVERY_TORSO or torso == "attention"
    return pytest.param(algorithm, torso, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize(("algorithm", "torso"), [pair(*names) for names in itertools.product(ALGORITHMS, TORSOS)])
def test_every_algorithm_updates_with_every_torso(algorithm: str, torso: str) -> None:
    if algorithm != WITH_EVERY_TORSO:
        check_updates(make_agent(algorithm, EndlessReward(limit=3), None, TORSOS[torso](FEATURES)))
        return
    # One update for each rollout: whoever acts as it learns finds the probabilities that it acted by. The policy moves
    # far, so that they depend on what is remembered.
    cfg = dataclasses.replace(CONFIGS[algorithm], num_minibatches=1, update_epochs=1)
    agent = make_agent(algorithm, EndlessReward(limit=6), None, TORSOS[torso](FEATURES), cfg, learning_rate=3e-2)
    np.testing.assert_allclose(check_updates(agent, num_steps=256)["approx_kl"], 0, atol=1e-6)


CONTINUOUS_PAIRS = [
    pytest.param(algorithm, torso, marks=() if torso == "gru" else pytest.mark.slow)
    for algorithm, torso in itertools.product(CONTINUOUS, KINDS_OF_TORSO)
]


@pytest.mark.parametrize(("algorithm", "torso"), CONTINUOUS_PAIRS)
def test_algorithms_of_continuous_actions_update_with_every_kind_of_torso(algorithm: str, torso: str) -> None:
    check_updates(make_agent(algorithm, ContinuousTarget(), None, TORSOS[torso](FEATURES)))


def check_updates(agent: Algorithm, num_steps: int = 64) -> Metrics:
    """Two seeds side by side take their steps, move their parameters and keep everything finite: gives the metrics."""

    def learn(key: Any, state: Any) -> Any:
        _, trained, metrics = agent.train(key, state, num_steps, keep=keep_metrics)
        return agent.acting_params(trained), trained.step, metrics

    # Initialised one by one, by the program that other checks of the agent have compiled.
    seeds = [agent.init(key) for key in jax.random.split(jax.random.key(0), 2)]
    keys, states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    before = jax.device_get(agent.acting_params(states))
    after, step, metrics = jax.device_get(jax.jit(jax.vmap(learn))(keys, states))
    iterations = -(-num_steps // agent.steps_per_iteration)
    np.testing.assert_array_equal(step, 2 * [iterations * agent.steps_per_iteration])
    for seed in range(2):
        changed = jax.tree.map(lambda x, y, seed=seed: not np.array_equal(x[seed], y[seed]), before, after)
        assert any(jax.tree.leaves(changed))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))
    # Other metrics are NaN where there was nothing to measure.
    losses = {name: x for name, x in metrics.items() if name.endswith(("loss", "gradient_norm"))}
    assert losses
    assert all(np.isfinite(x[:, -1]).all() for x in losses.values())
    assert not any(np.isinf(x).any() for x in metrics.values())
    return metrics


def keep_metrics(transition: Any, metrics: Any) -> Any:
    """Keep the metrics of an iteration."""
    return metrics


class _WithActionSpace(Probe):
    """A probe whose actions are drawn from any space; the reward is constant."""

    def outcome(self, time, cue, previous, action):
        return jnp.ones(()), time == 2, jnp.asarray(False)

    def step_env(self, key, env_state, action, params):
        return super().step_env(key, env_state, jnp.zeros(()), params)


@pytest.mark.parametrize("torso", ["gru", pytest.param("mlp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", HEADS)
def test_every_policy_head_acts_as_it_learns(name: str, torso: str) -> None:
    head, space = HEADS[name]

    class Environment(_WithActionSpace):
        def action_space(self, params):
            return space

    def network(head) -> Network:
        extractor = FeatureExtractor(observation_extractor=MLP(FEATURES), action_extractor=MLP(FEATURES))
        if space.shape == ():
            extractor = FeatureExtractor(observation_extractor=MLP(FEATURES))
        return Network(extractor, TORSOS[torso](FEATURES), head)

    optimizer = optax.adam(1e-3)
    cfg = CONFIGS["ppo"]
    agent = PPO(cfg, Environment(), None, network(head), network(heads.VNetwork()), optimizer, optimizer)
    testing.check_acting_equals_learning(agent)
    _, trajectory = jax.eval_shape(agent.act, *jax.eval_shape(agent.init, jax.random.key(0)))
    assert trajectory.action.shape == (4, 8, *space.shape)


@pytest.mark.parametrize(
    ("torso", "sequence_length"),
    [
        ("mlp", 1),
        ("mlp", 4),
        pytest.param("mlp", 8, marks=pytest.mark.slow),
        ("gru", 1),
        ("gru", 4),
        ("gru", 8),
    ],
)
def test_ppo_learns_from_sequences_of_any_length(torso: str, sequence_length: int) -> None:
    cfg = PPOConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=1, sequence_length=sequence_length)
    agent = make_agent("ppo", EndlessReward(limit=3), None, TORSOS[torso](FEATURES), cfg, learning_rate=0.0)
    _, _, metrics = agent.train(*agent.init(jax.random.key(0)), 96, keep=lambda transition, metrics: metrics)
    # Nothing is learned at a learning rate of zero: each sequence must find the carry it was acted with.
    np.testing.assert_allclose(metrics["approx_kl"], 0.0, atol=1e-6)
    np.testing.assert_array_equal(metrics["clip_fraction"], 0.0)
