"""Statistics that are shared, saved, and left alone by evaluation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.wrappers import NormalizeObservation, NormalizeReward, ScaleReward
from memorax.environments.wrappers.running_statistics import initial_statistics, update_statistics
from memorax.networks import TORSOS
from tests.catalogue import make_agent
from tests.environments.wrappers.track import ACTIONS, Track, play

GAMMA = 0.9


def same_for_all(statistics: Any, step: int) -> Any:
    """The statistics after a step, once it is seen that every environment holds the same."""
    for leaf in jax.tree.leaves(statistics):
        np.testing.assert_array_equal(leaf[step], np.broadcast_to(leaf[step, :1], leaf[step].shape))
    return jax.tree.map(lambda x: x[step, 0], statistics)


def test_statistics_are_those_of_the_whole_stream() -> None:
    stream = 1000 + 3 * np.random.default_rng(0).standard_normal((50, 4, 2)).astype(np.float32)
    statistics = initial_statistics((2,))
    for batch in stream:
        statistics = jax.jit(update_statistics)(statistics, jnp.asarray(batch))
    np.testing.assert_allclose(statistics.mean, stream.mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(statistics.variance, stream.var(axis=(0, 1)), rtol=1e-3)
    assert float(statistics.count) == pytest.approx(200)


def test_observations_are_normalised_by_everything_seen() -> None:
    plain, steps = play(Track(), ACTIONS), play(NormalizeObservation(Track()), ACTIONS)
    seen = np.concatenate([plain.first[None], plain.observation])
    for t in range(len(ACTIONS)):
        statistics = same_for_all(steps.state.statistics, t)
        mean, deviation = seen[: t + 2].mean(axis=(0, 1)), seen[: t + 2].std(axis=(0, 1))
        np.testing.assert_allclose(statistics.mean, mean, rtol=1e-3, atol=1e-4)
        for ours, theirs in (
            (steps.observation, plain.observation),
            (steps.info["final_observation"], plain.info["final_observation"]),
        ):
            np.testing.assert_allclose(ours[t], (theirs[t] - mean) / deviation, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(steps.reward, plain.reward)


def test_rewards_are_divided_by_the_deviation_of_discounted_returns() -> None:
    steps = play(NormalizeReward(ScaleReward(Track(), 2.0), GAMMA), ACTIONS)
    raw = steps.time.astype(np.float64)
    np.testing.assert_array_equal(steps.info["raw_reward"], raw)
    running, returns = np.zeros(3), []
    for t in range(len(ACTIONS)):
        running = GAMMA * running + 2 * raw[t]
        returns.append(running)
        running = np.where(steps.done[t], 0, running)  # the sum restarts with the episode
        statistics = same_for_all(steps.state.statistics, t)
        if t > 0:  # in the first step all environments are alike, and their variance is nothing
            np.testing.assert_allclose(statistics.variance, np.var(returns), rtol=1e-3)
            np.testing.assert_allclose(steps.reward[t], 2 * raw[t] / np.std(returns), rtol=1e-3)
    assert (np.abs(steps.reward) <= 10).all()


def test_frozen_environments_use_the_statistics_and_keep_them() -> None:
    env = NormalizeReward(NormalizeObservation(Track()), GAMMA)
    batch = env.vectorize(3)
    trained = jax.tree.map(lambda x: x[-1], play(batch, ACTIONS).state)
    frozen = env.vectorize(2).frozen(trained)  # of another size
    steps, plain = play(frozen, ACTIONS[:, :2], seed=5), play(Track(), ACTIONS[:, :2], seed=5)
    for ours, theirs in (
        (steps.state.statistics, trained.statistics),
        (steps.state.env_state.statistics, trained.env_state.statistics),
    ):
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, np.broadcast_to(y[0], x.shape)), ours, theirs)
    observed = trained.env_state.statistics
    expected = (plain.first - observed.mean[0]) / np.sqrt(observed.variance[0])
    np.testing.assert_allclose(steps.first, expected, rtol=1e-5)
    np.testing.assert_allclose(steps.reward, plain.reward / np.sqrt(trained.statistics.variance[0]), rtol=1e-5)


def test_one_environment_alone_is_refused() -> None:
    env = NormalizeObservation(Track())
    with pytest.raises(ValueError, match=r"^NormalizeObservation shares statistics over a batch: it is reset by"):
        env.reset(jax.random.key(0), None)
    with pytest.raises(ValueError, match=r"^NormalizeObservation shares statistics over a batch: it is stepped by"):
        env.step(jax.random.key(0), None, jnp.asarray(0), None)


def test_an_agent_is_evaluated_with_what_training_has_seen() -> None:
    env = NormalizeReward(NormalizeObservation(Track()), GAMMA)
    agent = make_agent("ppo", env, None, TORSOS["mlp"](8))
    key, state = agent.init(jax.random.key(0))
    act = jax.jit(agent.act)
    state, first = act(key, state)
    state, second = act(key, state)
    transitions = jax.tree.map(lambda *x: np.concatenate(x, axis=1), first.transition, second.transition)
    ended = transitions.info["returned_episode"]
    raw = np.asarray(transitions.info["raw_reward"])
    assert set(np.unique(np.abs(raw))) == {1, 2, 3, 4, 5}
    for b, t in zip(*np.nonzero(np.asarray(ended)), strict=True):
        length = int(transitions.info["returned_episode_lengths"][b, t])
        expected = raw[b, t + 1 - length : t + 1].sum()
        np.testing.assert_allclose(transitions.info["returned_episode_returns"][b, t], expected)
    before = jax.device_get(state.worker.env_state)
    _, evaluated = agent.evaluate(key, state, 40)
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.worker.env_state))
    observed = before.env_state.statistics
    time = np.asarray(evaluated.observation)[..., 1] * np.sqrt(observed.variance[0, 1]) + observed.mean[0, 1]
    np.testing.assert_allclose(time, np.round(time), atol=1e-4)  # the steps taken, which are whole
    scaled = evaluated.info["raw_reward"] / np.sqrt(before.statistics.variance[0])
    np.testing.assert_allclose(evaluated.reward, np.clip(scaled, -10, 10), rtol=1e-5)
