from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from memorax.training.summary import (
    Episodes,
    count_episodes,
    episode_row,
    evaluation_row,
    metrics_columns,
    metrics_row,
)
from memorax.types import Transition

NAN = float("nan")


def test_counts_only_episodes_that_ended() -> None:
    info = {
        "returned_episode": jnp.array([[False, True, False], [True, False, True]]),
        "returned_episode_returns": jnp.array([[jnp.inf, 2.0, 2.0], [3.0, 3.0, -1.0]]),
        "returned_episode_lengths": jnp.array([[9, 2, 2], [1, 1, 2]]),
    }
    none = jnp.zeros((2, 3), bool)
    episodes = count_episodes(Transition(jnp.zeros((2, 3, 1)), none, jnp.zeros((2, 3)), none, none, info))
    assert (int(episodes.count), float(episodes.returns), float(episodes.lengths)) == (3, 4.0, 5.0)


def test_rows_average_over_episodes_and_iterations() -> None:
    episodes = Episodes(
        count=np.array([[1, 3], [0, 0]]),
        returns=np.array([[2.0, 6.0], [0, 0]]),
        lengths=np.array([[4.0, 4.0], [0, 0]]),
        unfinished=np.zeros((2, 2), int),
    )
    assert episode_row(episodes, 0) == {"return": 2.0, "length": 2.0, "episodes": 4}
    assert episode_row(episodes, 1) == {"episodes": 0}


def test_rows_of_evaluations_say_how_many_episodes_were_unfinished() -> None:
    episodes = Episodes(count=np.array([4]), returns=np.array([8.0]), lengths=np.array([12]), unfinished=np.array([1]))
    assert evaluation_row(episodes, 0) == {
        "evaluation_return": 2.0,
        "evaluation_length": 3.0,
        "evaluation_episodes": 4,
        "evaluation_unfinished": 1,
    }


def test_one_nan_among_the_iterations_shows() -> None:
    metrics = {"b": np.array([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]]), "a": np.ones((2, 3))}
    row = metrics_row(metrics, 0)
    assert list(row) == ["a", "b"]
    assert np.isnan(row["b"])
    assert metrics_row(metrics, 1) == {"a": 1.0, "b": 2.0}


def test_iterations_without_an_update_do_not_count_and_what_is_not_known_yet_is_left_out() -> None:
    loss = np.array([[np.nan, 2.0, 4.0], [np.nan] * 3, [np.nan, 2.0, np.nan]])
    metrics = {"loss": loss, "updates": np.array([[0, 2, 2], [0, 0, 0], [0, 2, 2]]), "epsilon": np.full((3, 3), 0.5)}
    assert metrics_row(metrics, 0) == {"epsilon": 0.5, "loss": 3.0, "updates": 4}
    assert metrics_row(metrics, 1) == {"epsilon": 0.5, "updates": 0}
    assert np.isnan(metrics_row(metrics, 2)["loss"])


def test_a_metric_counts_in_iterations_in_which_it_is_known() -> None:
    metrics = {
        "drift": np.array([[NAN, 2.0, 4.0], [NAN] * 3, [1.0, NAN, 1.0]]),
        "drift_is_known": np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1]]),
        "updates": np.full((3, 3), 2),
    }
    assert metrics_row(metrics, 0) == {"drift": 3.0, "updates": 6}
    assert metrics_row(metrics, 1) == {"updates": 6}
    assert np.isnan(metrics_row(metrics, 2)["drift"]), "known and NaN all the same"
    assert metrics_columns(metrics) == ["drift", "updates"]
