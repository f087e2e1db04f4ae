"""Whether a task needs memory, decided from the returns of agents with and without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from memorax.evaluation.statistics import Interval, difference_interval

NOT_NEEDED, HELPS, UNDECIDED = "not needed", "helps", "undecided"

MARGIN = 0.05
"""How far a memoryless agent may be behind and count as doing as well: a part of the way from random play to the best
agent."""

RISK = 0.05
"""Probability of a wrong verdict, over all comparisons that it is made of."""


@dataclass(frozen=True)
class Verdict:
    """Whether a task needs memory.

    Attributes:
        word: "not needed", "helps" or "undecided".
        reason: what was found, a sentence.
    """

    word: str
    reason: str


def decide(
    random: np.ndarray,
    memoryless: np.ndarray,
    remembering: Mapping[str, np.ndarray],
    steps: int,
    margin: float = MARGIN,
    upper_bound: float | None = None,
) -> Verdict:
    """Decide whether a task needs memory.

    1. Nobody is above random play, by Welch's intervals: undecided.
    2. For each remembering agent, how far it is ahead of the memoryless one has a Welch interval. Where all of these
       end below `margin`, a part of the way from random play to the best agent: memory is not needed to reach this
       return.
    3. Where one of them begins above 0: memory helps.
    4. Otherwise: undecided.

    The intervals of a step hold together with 95 % (each has 1 - 0.05 / their number).

    Args:
        random: returns of random play, `[plays]`.
        memoryless: return of each seed of the memoryless agent, `[seeds]`.
        remembering: the same for agents that remember, by their names.
        steps: environment steps that each agent was trained for, for the sentence.
        margin: part of the way from random play to the best agent that the memoryless one may be behind.
        upper_bound: a return that cannot be exceeded, where one is known, for the sentence.
    """
    trained = {"the memoryless agent": memoryless, **remembering}
    above = {name: _ahead(returns, random, len(trained)) for name, returns in trained.items()}
    if not any(interval.low > 0 for interval in above.values()):
        return Verdict(UNDECIDED, f"nobody is above random play after {steps:,} steps")
    way = max(float(interval.mean) for interval in above.values())
    ahead = {name: _ahead(returns, memoryless, len(remembering)) for name, returns in remembering.items()}
    short = _shortfall(max(float(np.mean(returns)) for returns in trained.values()), way, margin, upper_bound)
    if all(interval.high <= margin * way for interval in ahead.values()):
        reason = f"a memoryless agent does as well, within {margin:.0%} of the way from random play to the best"
        return Verdict(NOT_NEEDED, f"no memory is needed to reach this return: {reason}{short}")
    helping = [name for name, interval in ahead.items() if interval.low > 0]
    if helping:
        best = max(helping, key=lambda name: ahead[name].mean)
        others = [_other(name, remembering, best, margin * way) for name in remembering if name != best]
        return Verdict(HELPS, "; ".join([f"memory helps: {best} is ahead by {_text(ahead[best])}", *others]) + short)
    # The one that may be ahead the furthest is what keeps the memoryless agent from doing as well.
    closest = max(ahead, key=lambda name: ahead[name].high)
    return Verdict(
        UNDECIDED,
        f"{closest} may be ahead of the memoryless one by {_text(ahead[closest])}: more seeds or steps decide",
    )


def _ahead(values: np.ndarray, others: np.ndarray, comparisons: int) -> Interval:
    return difference_interval(values, others, 1 - RISK / comparisons)


def _other(name: str, remembering: Mapping[str, np.ndarray], best: str, room: float) -> str:
    """Whether another agent that remembers does as well as the best one."""
    behind = difference_interval(remembering[best], remembering[name])
    if behind.high <= room:
        return f"{name} does as well"
    return f"{name} is behind it" if behind.low > 0 else f"{name} may do as well"


def _shortfall(reached: float, way: float, margin: float, upper_bound: float | None) -> str:
    """A warning where the best agent is short of what cannot be exceeded by more than the margin."""
    if upper_bound is None or upper_bound - reached <= margin * way:
        return ""
    return f"; nobody is near {upper_bound:.4g}, the most there can be"


def _text(interval: Interval) -> str:
    return f"{interval.mean:.3g} [{interval.low:.3g}, {interval.high:.3g}]"
