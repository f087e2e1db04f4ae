"""Statistics over seeds and tasks, with confidence intervals.

Scores over several tasks are a sequence of arrays, one for each task, `[..., runs]`: the runs come last, and their
number may differ from task to task. Every task weighs alike, whatever its number of runs. Where all tasks have as many
runs, the estimates are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

RESAMPLES = 2000
"""How many times runs are drawn again for a bootstrap interval, unless said otherwise."""

NUMBERS_AT_ONCE = 2**22
"""About how many numbers a bootstrap holds at a time, 32 MiB."""

Statistic = Callable[[Sequence[np.ndarray]], np.ndarray]
"""A function of the scores of each task, `[..., runs]`, that returns `[...]`."""


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean over seeds and its confidence interval by Student's t.

    Student's t rather than a bootstrap: with the three to ten seeds that are usual, a percentile bootstrap is too
    narrow.

    Args:
        values: `[seeds, ...]`; NaN where a seed has no value.
        confidence: probability with which the interval covers the mean.

    Returns:
        Arrays `[...]`: NaN where no seed has a value; `low` and `high` are also NaN where only one has.
    """
    values = np.asarray(values, np.float64)
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    divisor = np.where(count > 0, count, np.nan)
    mean = np.where(present, values, 0.0).sum(axis=0) / divisor
    squares = np.where(present, values - mean, 0.0) ** 2
    freedom = np.where(count > 1, count - 1, np.nan)
    standard_error = np.sqrt(squares.sum(axis=0) / freedom / divisor)
    half = stdtrit(freedom, 0.5 + confidence / 2) * standard_error
    return Interval(mean, mean - half, mean + half)


def interval_text(values: np.ndarray) -> str:
    """The mean of values `[N]` and its 95 % interval as text, the latter where there are several values.

    Where some are NaN it says how many: the mean of the others would look as if nothing had happened.
    """
    lost = np.isnan(values)
    if lost.any():
        return f"nan ({lost.sum()} of {len(values)} are)"
    mean, low, high = mean_interval(values)
    return f"{mean:.4g}" if np.isnan(low) else f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def difference_interval(values: np.ndarray, others: np.ndarray, confidence: float = 0.95) -> Interval:
    """Difference of the means of two groups of seeds and its confidence interval by Welch's t.

    The groups need not vary alike. Degrees of freedom are those of Welch, "The Generalization of 'Student's' Problem
    when Several Different Population Variances are Involved", 1947. Where no seed differs from its group, the interval
    has no width.

    Args:
        values: `[seeds]`.
        others: `[other seeds]`.
        confidence: probability with which the interval covers the difference.

    Returns:
        Scalars: mean of `values` minus mean of `others`; `low` and `high` are NaN where a group has a single seed.
    """
    groups = [np.asarray(group, np.float64) for group in (values, others)]
    difference = groups[0].mean() - groups[1].mean()
    if min(len(group) for group in groups) < 2:
        return Interval(difference, np.full((), np.nan), np.full((), np.nan))
    variances = np.array([group.var(ddof=1) / len(group) for group in groups])
    total = variances.sum()
    if total == 0:
        return Interval(difference, difference, difference)
    freedom = total**2 / (variances**2 / [len(group) - 1 for group in groups]).sum()
    half = stdtrit(freedom, 0.5 + confidence / 2) * np.sqrt(total)
    return Interval(difference, difference - half, difference + half)


class Estimate(NamedTuple):
    """A statistic and its confidence interval, arrays of one shape; `low` and `high` are NaN where there is none."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the middle half of all runs of all tasks: a quarter of the runs is cut off at either end.

    With as many runs in every task this is `scipy.stats.trim_mean(scores, 0.25, axis=None)`, which cuts off whole runs,
    rounded down. Otherwise a run counts in inverse proportion to the number of runs of its task.

    Args:
        scores: for each task `[..., runs]`.

    Returns:
        `[...]`.
    """
    values = np.concatenate(scores, axis=-1)
    order = np.argsort(values, axis=-1)
    weights = np.concatenate([np.full(n, 1 / n) for n in (runs.shape[-1] for runs in scores)])
    weights = weights[order] / len(scores)
    ends = np.cumsum(weights, axis=-1)
    cut = values.shape[-1] // 4 / values.shape[-1]
    # What lies between the cuts of the stretch of the distribution that each run stands for.
    kept = np.clip(np.minimum(ends, 1 - cut) - np.maximum(ends - weights, cut), 0, None)
    return (kept * np.take_along_axis(values, order, axis=-1)).sum(axis=-1) / kept.sum(axis=-1)


def mean_score(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over tasks of the mean over runs, `[..., runs]` for each task to `[...]`."""
    return np.mean([runs.mean(axis=-1) for runs in scores], axis=0)


def median_score(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Median over tasks of the mean over runs, `[..., runs]` for each task to `[...]`."""
    return np.median([runs.mean(axis=-1) for runs in scores], axis=0)


def optimality_gap(scores: Sequence[np.ndarray], gamma: float = 1.0) -> np.ndarray:
    """How far scores fall short of `gamma` on average, `[..., runs]` for each task to `[...]`.

    A score beyond `gamma` counts as `gamma`: what is more than enough in one task does not make up for another one.
    """
    return gamma - mean_score([np.minimum(runs, gamma) for runs in scores])


def probability_of_improvement(scores: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> np.ndarray:
    """Probability that a run scores higher than one of the reference, mean over tasks; ties count one half.

    It is the Mann-Whitney U statistic divided by the number of pairs of runs.

    Args:
        scores: for each task `[..., runs]`.
        reference: for each of the same tasks `[..., other runs]`.

    Returns:
        `[...]`.
    """
    return np.mean([_share_of_pairs(x, y) for x, y in zip(scores, reference, strict=True)], axis=0)


def performance_profile(scores: Sequence[np.ndarray], thresholds: np.ndarray) -> np.ndarray:
    """Share of the runs that score above each threshold, mean over tasks.

    Args:
        scores: for each task `[runs]`.
        thresholds: `[N]`.

    Returns:
        `[N]`.
    """
    return mean_score(scores_above(scores, thresholds))


def scores_above(scores: Sequence[np.ndarray], thresholds: np.ndarray) -> list[np.ndarray]:
    """Whether each run scores above each threshold, `[runs]` and `[N]` to float64 `[N, runs]` for each task.

    `mean_score` of these is the performance profile, and its bootstrap interval the band of the profile.
    """
    return [(runs > thresholds[:, None]).astype(np.float64) for runs in scores]


def stratified_bootstrap(
    statistic: Statistic,
    scores: Sequence[np.ndarray],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimate a statistic and its percentile bootstrap interval: the runs of each task are drawn again by themselves.

    The tasks are taken as given: the interval says how much the statistic would differ with other seeds on these tasks.
    The same runs are drawn for every entry of the leading axes.

    Args:
        statistic: a function of scores.
        scores: for each task `[..., runs]`.
        confidence: probability with which the interval is to cover the statistic of infinitely many runs.
        resamples: how many times runs are drawn.
        seed: random seed; the same one gives the same interval.

    Returns:
        Arrays `[...]`. There is no interval where a task has a single run, which says nothing of how runs differ.
    """
    scores = [np.asarray(runs, np.float64) for runs in scores]
    value = np.asarray(statistic(scores))
    if min(runs.shape[-1] for runs in scores) < 2:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    numbers = sum(runs.size for runs in scores)
    # Imported here, since it is slow to import, and training imports this module.
    from scipy import stats

    interval = stats.bootstrap(
        tuple(scores),
        lambda *drawn, axis: statistic(drawn),
        vectorized=True,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, NUMBERS_AT_ONCE // numbers),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, np.asarray(interval.low), np.asarray(interval.high))


def bootstrap_improvement(
    scores: Sequence[np.ndarray], reference: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Estimate the probability of improvement and its 95 % interval, for which the runs of both are drawn again."""

    def improvement(both: Sequence[np.ndarray]) -> np.ndarray:
        return probability_of_improvement(both[: len(scores)], both[len(scores) :])

    return stratified_bootstrap(improvement, [*scores, *reference], resamples=resamples, seed=seed)


def _share_of_pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of the pairs in which `x` is larger, half of the ties included, `[..., n]` and `[..., m]` to `[...]`."""
    from scipy.stats import rankdata

    n, m = x.shape[-1], y.shape[-1]
    ranks = rankdata(np.concatenate([x, y], axis=-1), axis=-1)[..., :n]
    return (ranks.sum(axis=-1) - n * (n + 1) / 2) / (n * m)
