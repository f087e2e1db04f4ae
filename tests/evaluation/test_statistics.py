from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from memorax.evaluation import mean_interval
from memorax.evaluation.statistics import (
    bootstrap_improvement,
    difference_interval,
    interquartile_mean,
    interval_text,
    mean_score,
    median_score,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)


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


def test_a_value_that_is_nan_is_told_in_the_text_of_an_interval() -> None:
    assert interval_text(np.array([1.0])) == "1"
    assert interval_text(np.array([1.0, 1.0, 1.0])) == "1 [1, 1]"
    assert interval_text(np.array([1.0, np.nan, 1.0])) == "nan (1 of 3 are)"


def test_the_interval_of_a_difference_equals_welch_s() -> None:
    rng = np.random.default_rng(2)
    values, others = rng.normal(1.0, 3.0, 5), rng.normal(0.0, 0.5, 8)
    found = difference_interval(values, others, 0.9)
    expected = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.9)
    np.testing.assert_allclose(found, [values.mean() - others.mean(), expected.low, expected.high])
    assert difference_interval(np.ones(3), np.zeros(2)) == (1, 1, 1)
    assert np.isnan(difference_interval(np.ones(1), np.zeros(2)).low)


def test_the_interquartile_mean_is_that_of_the_middle_half_of_all_runs() -> None:
    assert interquartile_mean([np.array([0.0, 1, 2, 900]), np.array([-900.0, 3, 4, 5])]) == 2.5
    random = np.random.default_rng(0)
    for runs in range(1, 9):
        scores = random.normal(size=(runs, 3))
        np.testing.assert_allclose(interquartile_mean(list(scores.T)), stats.trim_mean(scores, 0.25, axis=None))


def test_a_task_weighs_alike_whatever_its_number_of_runs() -> None:
    """Of the two zeros, which are half of all there is, a half is cut off, and of the six ones as well."""
    scores = [np.ones(6), np.zeros(2)]
    assert interquartile_mean(scores) == pytest.approx(0.5)
    assert (mean_score(scores), median_score(scores)) == (0.5, 0.5)
    np.testing.assert_allclose(performance_profile(scores, np.array([-1.0, 0.0, 0.5, 1.0])), [1, 0.5, 0.5, 0])


def test_aggregates_by_hand() -> None:
    scores = [np.array([0.0, 1.0]), np.array([2.0, 0.2]), np.array([0.9, 0.9])]
    assert mean_score(scores) == pytest.approx((0.5 + 1.1 + 0.9) / 3)
    assert median_score(scores) == pytest.approx(0.9)
    assert optimality_gap(scores) == pytest.approx(1 - (0.5 + 0.6 + 0.9) / 3), "2.0 counts as 1"


def test_the_probability_of_improvement_counts_all_pairs() -> None:
    random = np.random.default_rng(0)
    scores = [random.integers(0, 5, size=n).astype(float) for n in (4, 7)]
    reference = [random.integers(0, 5, size=n).astype(float) for n in (6, 3)]
    shares = [np.mean([(a > b) + 0.5 * (a == b) for a in x for b in y]) for x, y in zip(scores, reference, strict=True)]
    assert probability_of_improvement(scores, reference) == pytest.approx(np.mean(shares))
    both = np.stack([scores[0], scores[0] + 9])
    np.testing.assert_array_equal(probability_of_improvement([both], [np.stack([scores[0] + 9, scores[0]])]), [0, 1])


def test_the_bootstrap_draws_the_runs_of_each_task_again() -> None:
    random = np.random.default_rng(0)
    scores = [random.uniform(size=10) + task for task in range(3)]
    resampled = [interquartile_mean([random.choice(runs, len(runs)) for runs in scores]) for _ in range(3000)]
    value, low, high = stratified_bootstrap(interquartile_mean, scores, resamples=3000)
    assert value == interquartile_mean(scores)
    np.testing.assert_allclose((low, high), np.quantile(resampled, (0.025, 0.975)), atol=0.02)
    again = stratified_bootstrap(interquartile_mean, scores, resamples=3000)
    assert (again.low, again.high) == (low, high)
    assert stratified_bootstrap(interquartile_mean, scores, resamples=3000, seed=1).low != low
    alike = stratified_bootstrap(mean_score, [np.zeros(3), np.ones(4)], resamples=10)
    assert alike == (0.5, 0.5, 0.5), "tasks are not drawn"


def test_the_bootstrap_covers_as_often_as_it_says() -> None:
    """A little less often, as is known of percentile intervals of ten runs."""
    samples = np.random.default_rng(1).normal(size=(2, 1000, 10))
    _, low, high = stratified_bootstrap(mean_score, list(samples), confidence=0.9, resamples=400)
    assert low.shape == (1000,)
    assert 0.83 < np.mean((low < 0) & (high > 0)) < 0.9


def test_a_single_run_gives_no_interval() -> None:
    value, low, high = stratified_bootstrap(mean_score, [np.array([1.0]), np.array([2.0, 3.0])])
    assert value == 1.75 and np.isnan(low) and np.isnan(high)


def test_the_interval_of_an_improvement_draws_both() -> None:
    scores, reference = [np.array([1.0, 3.0])], [np.array([2.0, 2.0, 2.0])]
    assert bootstrap_improvement(scores, reference, resamples=200) == (0.5, 0.0, 1.0)
    assert bootstrap_improvement(reference, scores, resamples=200) == (0.5, 0.0, 1.0)
