from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.rollout import rollout, start
from memorax.training.summary import (
    Episodes,
    count_episodes,
    count_evaluated_episodes,
    episode_row,
    evaluated_episodes,
    metrics_row,
)
from memorax.types import Array, Carry, Key, PyTree, Timestep, Transition
from tests.probes import TwoLengths


def test_counts_only_episodes_that_ended() -> None:
    info = {
        "returned_episode": jnp.array([[False, True, False], [True, False, True]]),
        "returned_episode_returns": jnp.array([[jnp.inf, 2.0, 2.0], [3.0, 3.0, -1.0]]),
        "returned_episode_lengths": jnp.array([[9, 2, 2], [1, 1, 2]]),
    }
    none = jnp.zeros((2, 3), bool)
    episodes = count_episodes(Transition(jnp.zeros((2, 3, 1)), none, jnp.zeros((2, 3)), none, none, info))
    assert (int(episodes.count), float(episodes.returns), float(episodes.lengths)) == (3, 4.0, 5.0)


def test_an_evaluation_counts_as_many_episodes_of_every_environment() -> None:
    ended = jnp.array([[1, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 1, 0]], bool)
    expected = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 0, 0]]
    np.testing.assert_array_equal(evaluated_episodes(ended), np.array(expected, bool))


def test_an_evaluation_too_short_for_some_environment_counts_one_episode_of_the_others() -> None:
    ended = jnp.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1]], bool)
    expected = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], bool)
    np.testing.assert_array_equal(evaluated_episodes(ended), expected)
    assert not evaluated_episodes(jnp.zeros((2, 3), bool)).any()


def test_evaluations_of_short_and_long_episodes_have_the_true_mean() -> None:
    """Episodes of 1 and of 9 steps are as likely, and pay 1 a step: the mean return is 5."""
    env = TwoLengths().vectorize(8)

    def policy(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, Array, PyTree]:
        return carry, jnp.zeros((8,), jnp.int32), {}

    def evaluate(key: Key) -> tuple[Episodes, Episodes]:
        worker = start(key, env, None, lambda timestep: ())
        transition = rollout(env, None, policy, worker, key, 40)[1].transition
        return count_episodes(transition), count_evaluated_episodes(transition)

    every, counted = jax.jit(jax.vmap(evaluate))(jax.random.split(jax.random.key(0), 1000))
    np.testing.assert_allclose(jnp.mean(counted.returns / counted.count), 5.0, atol=0.1)
    assert jnp.mean(every.returns / every.count) < 4.75  # the bias that is avoided


def test_rows_average_over_episodes_and_iterations() -> None:
    episodes = Episodes(
        count=np.array([[1, 3], [0, 0]]), returns=np.array([[2.0, 6.0], [0, 0]]), lengths=np.array([[4.0, 4.0], [0, 0]])
    )
    assert episode_row(episodes, 0, "x_") == {"x_return": 2.0, "x_length": 2.0, "x_episodes": 4}
    empty = episode_row(episodes, 1)
    assert empty["episodes"] == 0
    assert np.isnan([empty["return"], empty["length"]]).all()


def test_metrics_of_iterations_that_did_not_learn_do_not_count() -> None:
    metrics = {"b": np.array([[1.0, np.nan, 3.0]]), "a": np.array([[np.nan, np.nan, np.nan]])}
    row = metrics_row(metrics, 0)
    assert list(row) == ["a", "b"]
    assert row["b"] == 2.0
    assert np.isnan(row["a"])
