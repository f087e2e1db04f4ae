"""Which episodes of an evaluation count."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.evaluation import evaluated_episodes, mean_return
from memorax.rollout import rollout, start
from memorax.types import Array, Carry, Key, PyTree, Timestep, Transition
from tests.probes import TwoLengths


def play(ends: list[list[int]], reward: float = 1.0) -> Transition:
    """An evaluation in which every step pays `reward` and episodes end where `ends` is 1."""
    ended = np.array(ends, bool)  # (B, T)
    returns, lengths = np.zeros(ended.shape, np.float32), np.zeros(ended.shape, np.int32)
    for b, row in enumerate(ended):
        length = last = 0
        for t, end in enumerate(row):
            length += 1
            last, length = (length, 0) if end else (last, length)
            returns[b, t], lengths[b, t] = reward * last, last
    info = {
        "returned_episode": jnp.array(ended),
        "returned_episode_returns": jnp.array(returns),
        "returned_episode_lengths": jnp.array(lengths),
    }
    none = jnp.zeros(ended.shape, bool)
    return Transition(none, none, jnp.full(ended.shape, reward), jnp.array(ended), none, info)


def test_as_many_episodes_of_every_environment_count() -> None:
    episodes = evaluated_episodes(play([[1, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 1, 0]]))
    expected = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 0, 0]]
    np.testing.assert_array_equal(episodes.counted, np.array(expected, bool))
    assert not episodes.unfinished.any()


def test_an_episode_that_outlasts_the_evaluation_counts_as_far_as_it_went() -> None:
    transitions = play([[1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1]], reward=2.0)
    episodes = evaluated_episodes(transitions)
    expected = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], bool)
    np.testing.assert_array_equal(episodes.counted, expected)
    np.testing.assert_array_equal(episodes.unfinished, [False, True, False])
    np.testing.assert_array_equal(episodes.returns[expected], [2.0, 8.0, 6.0])
    np.testing.assert_array_equal(episodes.lengths[expected], [1, 4, 3])
    np.testing.assert_allclose(mean_return(transitions), 16.0 / 3, rtol=1e-6)


def test_what_an_unfinished_episode_reached_is_told_in_the_rewards_of_the_environment() -> None:
    transitions = play([[0, 0], [0, 0]])
    scaled = transitions.replace(info={**transitions.info, "raw_reward": jnp.full((2, 2), 5.0)})
    assert float(mean_return(scaled)) == 10.0


def test_seeds_are_kept_apart() -> None:
    """The first seed could count two episodes of each environment, the second but one."""
    seeds = [play([[1, 0, 1], [1, 1, 1]]), play([[0, 0, 1], [1, 0, 1]])]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    np.testing.assert_allclose(mean_return(stacked), [float(mean_return(seed)) for seed in seeds])
    np.testing.assert_allclose(mean_return(stacked), [1.25, 2.0])


def test_evaluations_of_short_and_long_episodes_have_the_true_mean() -> None:
    """Episodes of 1 and of 9 steps are as likely, and pay 1 a step: the mean return is 5."""
    env = TwoLengths().vectorize(8)

    def policy(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, Array, PyTree]:
        return carry, jnp.zeros((8,), jnp.int32), {}

    def evaluate(key: Key) -> tuple[Array, Array]:
        worker = start(key, env, None, lambda timestep: ())
        transition = rollout(env, None, policy, worker, key, 40)[1].transition
        ended = transition.info["returned_episode"]
        every = jnp.sum(jnp.where(ended, transition.info["returned_episode_returns"], 0.0)) / ended.sum()
        return every, mean_return(transition)

    every, counted = jax.jit(jax.vmap(evaluate))(jax.random.split(jax.random.key(0), 1000))
    np.testing.assert_allclose(jnp.mean(counted), 5.0, atol=0.1)
    assert jnp.mean(every) < 4.75  # the bias that is avoided


def test_a_mean_return_is_that_of_transitions() -> None:
    with pytest.raises(ValueError, match=r"^transitions \(tuple\) must be what evaluate returns last"):
        mean_return((jax.random.key(0), None))  # type: ignore[arg-type]
