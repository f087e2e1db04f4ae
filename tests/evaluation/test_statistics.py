from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from memorax.evaluation import mean_interval


def test_equals_the_textbook() -> None:
    values = np.random.default_rng(0).normal(size=(5, 3))
    mean, low, high = mean_interval(values)
    expected = stats.t.interval(0.95, 4, values.mean(axis=0), stats.sem(values, axis=0))
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose((low, high), expected)


def test_covers_the_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(1).normal(3.0, 2.0, size=(4, 20_000))
    _, low, high = mean_interval(samples)
    assert np.mean((low < 3.0) & (high > 3.0)) == pytest.approx(0.95, abs=0.01)


def test_seeds_without_a_value_do_not_count() -> None:
    nan = np.nan
    mean, low, high = mean_interval(np.array([[1.0, 1.0, nan], [3.0, nan, nan], [2.0, nan, nan]]))
    np.testing.assert_array_equal(mean, [2.0, 1.0, nan])
    np.testing.assert_array_equal(np.isnan(low), [False, True, True])
    np.testing.assert_array_equal(np.isnan(high), [False, True, True])
