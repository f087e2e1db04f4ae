"""Identical observations that are answered differently: what an agent knows besides what it sees."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from memorax.types import PyTree

PRECISION = 0.1
"""Numbers of observations that seldom repeat are rounded to multiples of this part of their standard deviation."""

ENOUGH_REPEATED = 0.5
"""Where less than this part of the steps repeats an observation exactly, numbers are rounded."""


@dataclass(frozen=True)
class Ambiguity:
    """How differently an agent acts where it observes the same.

    Attributes:
        share: of choices, the share of steps whose action is not the most common one for their observation; of numbers,
            the variance of actions for one observation as a part of their whole variance. It is 0 for an agent that
            acts by the present observation alone, and NaN where no observation repeats.
        repeated: share of the steps whose observation occurs at least twice; the others do not count.
        rounded: whether numbers were rounded before observations were compared.
        numbers: whether actions are numbers.
    """

    share: float
    repeated: float
    rounded: bool
    numbers: bool


def measure_ambiguity(observation: PyTree, action: PyTree) -> Ambiguity:
    """Measure how differently an agent acts where it observes the same.

    Observations are the same where all their bytes are. Where less than half of the steps has an observation that
    occurs twice, as with positions and velocities, floating-point numbers are rounded to multiples of a tenth of their
    standard deviation first; then an agent that acts by the present observation alone differs a little too.

    Args:
        observation: leaves `[N, ...]`, of the steps of one agent.
        action: leaves `[N, ...]`, the action the agent holds best at each of these steps.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(observation)]
    actions = [np.asarray(leaf) for leaf in jax.tree.leaves(action)]
    group = _number(leaves)
    rounded = bool(_repeats(group).mean() < ENOUGH_REPEATED) and any(_is_floating(leaf) for leaf in leaves)
    if rounded:
        group = _number([_round(leaf) if _is_floating(leaf) else leaf for leaf in leaves])
    repeats = _repeats(group)
    numbers = any(_is_floating(leaf) for leaf in actions)
    if not repeats.any():
        return Ambiguity(float("nan"), 0.0, rounded, numbers)
    group, actions = group[repeats], [leaf[repeats] for leaf in actions]
    share = _spread_within(group, actions) if numbers else _share_unlike(group, _number(actions))
    return Ambiguity(share, float(repeats.mean()), rounded, numbers)


def _share_unlike(group: np.ndarray, choice: np.ndarray) -> float:
    """Share of the steps `[N]` whose choice is not the most common one of their group."""
    _, pair, counts = np.unique(np.stack([group, choice]), axis=1, return_inverse=True, return_counts=True)
    largest = np.zeros(group.max() + 1, np.int64)
    np.maximum.at(largest, group, counts[pair.ravel()])
    return float(1 - largest.sum() / len(group))


def _spread_within(group: np.ndarray, actions: list[np.ndarray]) -> float:
    """Variance of actions within groups over their whole variance, both unbiased, at most 1; 0 where nothing varies."""
    values = np.concatenate([leaf.reshape(len(group), -1) for leaf in actions], axis=1).astype(np.float64)  # (N, A)
    _, group = np.unique(group, return_inverse=True)
    counts = np.bincount(group)
    means = np.stack([np.bincount(group, column) / counts for column in values.T], axis=1)  # (groups, A)
    within = ((values - means[group]) ** 2).sum() / (len(values) - len(counts))
    whole = ((values - values.mean(axis=0)) ** 2).sum() / (len(values) - 1)
    return float(min(1.0, within / whole)) if whole > 0 else 0.0


def _number(leaves: list[np.ndarray]) -> np.ndarray:
    """A number for each of the rows `[N]`, the same for rows whose bytes are the same in every leaf."""
    known: dict[bytes, int] = {}
    # Adding zero makes one number of 0.0 and -0.0.
    parts = [leaf + 0 if _is_floating(leaf) else leaf for leaf in leaves]
    rows = (b"".join(part[i].tobytes() for part in parts) for i in range(len(parts[0])))
    return np.array([known.setdefault(row, len(known)) for row in rows])


def _repeats(group: np.ndarray) -> np.ndarray:
    """Whether each step's group has another step, bool `[N]`."""
    return np.bincount(group)[group] > 1


def _round(leaf: np.ndarray) -> np.ndarray:
    """Numbers `[N, ...]` in units of a tenth of the standard deviation of each element, rounded."""
    values = leaf.astype(np.float64)
    unit = PRECISION * values.std(axis=0)
    return np.round(np.divide(values - values.mean(axis=0), unit, out=np.zeros_like(values), where=unit > 0))


def _is_floating(leaf: np.ndarray) -> bool:
    return np.issubdtype(leaf.dtype, np.floating)
