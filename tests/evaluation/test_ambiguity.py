"""The share of ambiguous steps, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from memorax.evaluation.ambiguity import measure_ambiguity


def test_choices_by_hand() -> None:
    # Observation 7 is answered by 0, 0, 1; 8 by 2, 2; 9 by 1, 0 (one of them counts); 5 occurs once and does not count.
    observation = np.array([7, 7, 7, 8, 8, 9, 9, 5])
    found = measure_ambiguity(observation, np.array([0, 0, 1, 2, 2, 1, 0, 3]))
    assert found.share == pytest.approx(2 / 7)
    assert found.repeated == 7 / 8
    assert not found.rounded
    assert not found.numbers


def test_an_agent_that_acts_by_what_it_sees_has_none() -> None:
    rng = np.random.default_rng(0)
    observation = {"a": rng.integers(0, 3, 100), "b": rng.integers(0, 2, (100, 2)).astype(np.float32)}
    action = observation["a"] + 3 * observation["b"][:, 0].astype(int)
    assert measure_ambiguity(observation, action).share == 0
    # The second part tells observations apart too.
    assert measure_ambiguity({"a": observation["a"]}, action).share > 0.2


def test_several_choices_are_one_action() -> None:
    found = measure_ambiguity(np.zeros(4), np.array([[0, 1], [0, 1], [0, 1], [1, 1]]))
    assert found.share == 1 / 4


def test_numbers_by_hand() -> None:
    # Groups (0, 2) and (4, 6): squares within 4 over 4 - 2, of the whole 20 over 4 - 1.
    action = np.array([[0.0], [2.0], [4.0], [6.0]], np.float32)
    found = measure_ambiguity(np.array([1, 1, 2, 2]), action)
    assert found.numbers
    assert found.share == pytest.approx((4 / 2) / (20 / 3))
    assert measure_ambiguity(np.array([1, 1, 2, 2]), np.zeros((4, 1))).share == 0


def test_zero_has_no_sign() -> None:
    assert measure_ambiguity(np.array([0.0, -0.0]), np.array([0, 1])).repeated == 1


def test_numbers_that_seldom_repeat_are_rounded() -> None:
    # Their standard deviation is about 1, so that two of each pair are the same to a tenth of it.
    middle = np.linspace(-1.7, 1.7, 12)
    observation = np.concatenate([middle, middle + 1e-6])[:, None]
    action = np.array([0] * 12 + [0] * 9 + [1] * 3)
    found = measure_ambiguity(observation, action)
    assert found.rounded
    assert (found.share, found.repeated) == (3 / 24, 1)


def test_where_no_observation_repeats_there_is_no_share() -> None:
    found = measure_ambiguity(np.arange(5), np.zeros(5, int))
    assert np.isnan(found.share)
    assert found.repeated == 0
    assert not found.rounded, "whole numbers are never rounded"
