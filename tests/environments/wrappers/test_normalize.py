"""Statistics that are shared, saved, and left alone by evaluation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.wrappers import NormalizeObservation, NormalizeReward, ScaleReward
from memorax.environments.wrappers.running_statistics import initial_statistics, standardize, update_statistics
from memorax.networks import TORSOS
from tests.catalogue import make_agent
from tests.environments.wrappers.track import ACTIONS, Track, play
from tests.probes import GoesOut

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
    np.testing.assert_array_equal(statistics.count, [200, 200])


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


def statistics_of(stream: Any) -> Any:
    """The statistics of a stream of batches `[T, B, ...]`, one after the other."""

    def update(statistics: Any, batch: Any) -> Any:
        return update_statistics(statistics, batch), None

    stream = jnp.asarray(stream)
    return jax.jit(lambda: jax.lax.scan(update, initial_statistics(stream.shape[2:]), stream)[0])()


def normal(shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_left_out_and_counted(bad: float) -> None:
    stream = normal((40, 4, 2))
    spoiled = stream.copy()
    spoiled[7, :, 0] = bad  # a batch without any finite sample
    spoiled[9, 2, 0] = bad
    statistics = statistics_of(spoiled)
    clean = np.concatenate([np.delete(stream, [7, 9], axis=0).reshape(-1, 2), stream[9, [0, 1, 3]]])
    np.testing.assert_array_equal(statistics.count, [155, 160])
    np.testing.assert_array_equal(statistics.left_out, [5, 0])
    np.testing.assert_allclose(statistics.mean[0], clean[:, 0].mean(), atol=1e-6)
    np.testing.assert_allclose(statistics.variance[0], clean[:, 0].var(), rtol=1e-4)
    np.testing.assert_allclose(statistics.variance[1], stream[..., 1].var(), rtol=1e-4)
    seen = standardize(statistics, jnp.full((1, 2), bad))
    np.testing.assert_array_equal(seen, np.clip([[bad, bad]], -10, 10))  # NaN goes on to be seen


@pytest.mark.parametrize("num_envs", [1, 4])
@pytest.mark.parametrize("bad", [1e4, 1e30, -3e38])
@pytest.mark.parametrize("time", [0, 1, 100])
def test_an_outlier_does_not_destroy_what_was_learned(num_envs: int, bad: float, time: int) -> None:
    stream = normal((5000, num_envs, 1))
    stream[time, -1] = bad
    statistics = statistics_of(stream)
    assert 0.9 < float(statistics.variance[0]) < 2.5
    assert abs(float(statistics.mean[0])) < 0.2


def test_an_outlier_of_what_varies_only_later_does_not_destroy_what_is_learned_then() -> None:
    stream = normal((500, 4, 1))
    stream[:50] = 3.0
    stream[20, 1] = 1e30
    statistics = statistics_of(stream)
    assert 0.5 < float(statistics.variance[0]) < 5
    assert abs(float(statistics.mean[0])) < 1


def test_few_samples_are_not_outliers_of_each_other() -> None:
    stream = np.random.default_rng(0).standard_normal((10, 1, 1000)).astype(np.float32)
    ratio = np.asarray(statistics_of(stream).variance) / stream.var(axis=(0, 1))
    assert np.quantile(ratio, 0.01) > 0.9 and ratio.max() < 1.5


def test_a_change_of_scale_is_followed() -> None:
    stream = np.concatenate([normal((1000, 4)), 1e6 * normal((1000, 4))])
    statistics = statistics_of(stream)
    np.testing.assert_allclose(statistics.variance, stream.var(), rtol=0.1)


def test_what_is_rarely_not_zero_keeps_its_variance() -> None:
    stream = (np.random.default_rng(0).random((20_000, 8)) < 1e-3).astype(np.float32)
    np.testing.assert_allclose(statistics_of(stream).variance, stream.var(), rtol=0.05)


@pytest.mark.parametrize("scale", [1e-17, 1e-6, 1.0, 1e12, 1e17])
def test_any_scale_is_normalised(scale: float) -> None:
    stream = normal((50, 4, 1), scale)
    seen = standardize(statistics_of(stream), jnp.asarray(stream[-1]))
    np.testing.assert_allclose(seen, (stream[-1] - stream.mean()) / stream.std(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [1e20, 1e30])
def test_no_scale_is_too_large_to_be_seen(scale: float) -> None:
    stream = normal((50, 4, 1), scale)
    seen = standardize(statistics_of(stream), jnp.asarray(stream[-1]))
    np.testing.assert_array_equal(seen, np.where(stream[-1] > 0, 10, -10))


def test_what_does_not_vary_but_for_rounding_is_not_divided() -> None:
    stream = np.full((3000, 7, 1), 0.1, np.float32)
    assert np.abs(standardize(statistics_of(stream), jnp.asarray(stream[0]))).max() < 1e-6


class Faulty(Track):
    """A track whose third step is seen, and rewarded, as NaN."""

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        observation, env_state, reward, *rest = super().step_env(key, env_state, action, params)
        wrong = observation[1] == 3
        return jnp.where(wrong, jnp.nan, observation), env_state, jnp.where(wrong, jnp.nan, reward), *rest


def test_a_reward_that_is_not_finite_leaves_the_sum_of_its_episode() -> None:
    steps, plain = play(NormalizeReward(Faulty(), GAMMA), ACTIONS), play(Track(), ACTIONS)
    wrong = plain.info["final_observation"][..., 1] == 3
    assert wrong.any()
    np.testing.assert_array_equal(np.isnan(steps.reward), wrong)
    running, returns = np.zeros(3), []
    for t in range(len(ACTIONS)):
        running = GAMMA * running + np.where(wrong[t], 0, plain.reward[t])
        returns.append(running[~wrong[t]])
        running = np.where(plain.done[t], 0, running)
    statistics = same_for_all(steps.state.statistics, -1)
    np.testing.assert_allclose(statistics.variance, np.var(np.concatenate(returns)), rtol=1e-3)
    assert float(statistics.left_out) == wrong.sum()


class Spiky(Track):
    """A track whose third step of an episode is rewarded by 1e30, if it started below 1.02."""

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        observation, env_state, reward, *rest = super().step_env(key, env_state, action, params)
        return observation, env_state, jnp.where((observation[1] == 3) & (observation[0] < 1.02), 1e30, reward), *rest


def test_an_outlier_does_not_follow_an_episode_to_its_end() -> None:
    actions = np.zeros((400, 3), np.int32)
    steps, plain = play(NormalizeReward(Spiky(), GAMMA), actions), play(NormalizeReward(Track(), GAMMA), actions)
    assert 3 <= (steps.info["raw_reward"] > 1e29).sum() <= 30
    deviation = [np.sqrt(same_for_all(s.state.statistics, -1).variance) for s in (steps, plain)]
    assert deviation[0] < 20 * deviation[1]
    assert np.isfinite(steps.reward).all() and np.abs(steps.reward[-5:]).max() > 0.01


def test_what_agents_meet_after_they_went_out_is_in_no_statistics() -> None:
    """The first of two goes out with the second of four steps."""

    def normalized(while_out: float) -> Any:
        batch = NormalizeReward(NormalizeObservation(GoesOut(while_out)), 0.9).vectorize(1)
        observation, state = batch.reset(jax.random.key(0), None)
        seen = [observation[1]]
        for _ in range(5):
            observation, state, reward, *_ = batch.step(jax.random.key(1), state, jnp.ones((2,), jnp.int32), None)
            seen += [observation[1], reward[1]]
        counts = state.statistics.count[0], state.env_state.statistics.count[0, 0]
        return [float(x[0] if x.ndim else x) for x in seen], [float(x) for x in counts]

    calm, loud = normalized(0.0), normalized(5.0)
    assert calm == loud
    # Rewards of both twice and of the other twice, then both again; observations likewise, and those of the resets.
    assert calm[1] == [2 + 2 + 1 + 1 + 2, 2 + 2 + 1 + 1 + 2 + 2]
