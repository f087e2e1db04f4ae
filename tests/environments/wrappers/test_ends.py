"""Wrappers that decide when an episode ends, and how many steps an action takes."""

from __future__ import annotations

import numpy as np
import pytest

from memorax.environments.wrappers import ActionRepeat, ScaleReward, TimeLimit
from tests.environments.wrappers.track import ACTIONS, LIMIT, Track, play


@pytest.mark.parametrize("limit", [1, 3, LIMIT, LIMIT + 2])
def test_time_limit_truncates_where_the_episode_has_not_ended(limit: int) -> None:
    steps = play(TimeLimit(Track(), limit), ACTIONS)
    np.testing.assert_array_equal(steps.terminated, ACTIONS == 1)
    np.testing.assert_array_equal(steps.truncated, (steps.time == min(limit, LIMIT)) & (ACTIONS != 1))
    np.testing.assert_array_equal(steps.info["final_observation"][..., 1], steps.time)
    np.testing.assert_array_equal(steps.observation[..., 1], np.where(steps.done, 0, steps.time))
    assert len(np.unique(steps.observation[steps.done][:, 0])) == steps.done.sum()  # each from a state of its own


def test_the_shorter_of_two_time_limits_holds() -> None:
    for inner, outer in ((2, 4), (4, 2)):
        steps = play(TimeLimit(TimeLimit(Track(), inner), outer), np.zeros((5, 1), np.int32))
        np.testing.assert_array_equal(steps.truncated[:, 0], [False, True, False, True, False])


def test_action_repeat_sums_rewards_and_stops_at_ends() -> None:
    steps = play(ActionRepeat(ScaleReward(Track(), 2.0), 3), ACTIONS[:6])
    # 1 + 2 + 3, then 4 + 5 and the time limit; a failure ends an episode at the first step of the three.
    expected = np.asarray([[6, 6, 6], [9, 9, 9], [6, 1, 6], [9, 6, 9], [6, 9, 1], [9, 6, 6]], np.float32)
    np.testing.assert_array_equal(steps.info["raw_reward"], expected)
    np.testing.assert_array_equal(steps.reward, 2 * expected)
    np.testing.assert_array_equal(steps.terminated, ACTIONS[:6] == 1)
    np.testing.assert_array_equal(steps.truncated, expected == 9)
    last = np.select([expected == 6, expected == 9], [3, 5], 1)
    np.testing.assert_array_equal(steps.info["final_observation"][..., 1], last)
    np.testing.assert_array_equal(steps.observation[..., 1], np.where(steps.done, 0, last))


def test_an_action_may_be_taken_once() -> None:
    steps, plain = play(ActionRepeat(Track(), 1), ACTIONS), play(Track(), ACTIONS)
    np.testing.assert_array_equal(steps.reward, plain.reward)
    np.testing.assert_array_equal(steps.done, plain.done)


def test_a_time_limit_counts_the_agents_steps() -> None:
    steps = play(TimeLimit(ActionRepeat(Track(), 2), 2), np.zeros((4, 1), np.int32))
    np.testing.assert_array_equal(steps.truncated[:, 0], [False, True, False, True])
    np.testing.assert_array_equal(steps.info["final_observation"][:, 0, 1], [2, 4, 2, 4])
