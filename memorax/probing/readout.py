"""How well past observations can be read from a carry by a linear map."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from memorax.environments.spaces import Discrete, MultiDiscrete, Space
from memorax.networks.encoders import SpaceEncoder
from memorax.types import Array, PyTree

PENALTY = 1e-2
"""Weight of the squared norm of a linear map, whose inputs are standardised and divided by the root of their number."""

MOST_SAMPLES = 1000
"""How many steps a linear map is fitted to, and how many it is tested on."""

MOST_NUMBERS = 256
"""How many numbers of an observation are read, evenly spread over a wider one."""

FEWEST_SAMPLES = 30
"""How many steps must be left at a lag for a linear map to be fitted and to be tested."""


@dataclass(frozen=True)
class Targets:
    """What is to be read.

    Attributes:
        vectors: `[B, T, D]`, choices as one-hot vectors.
        choices: how many there are to choose from, of each choice; empty where the vectors are numbers.
    """

    vectors: np.ndarray
    choices: tuple[int, ...]


@dataclass(frozen=True)
class Readout:
    """How well observations some steps ago are read on episodes that the linear map has not seen.

    Attributes:
        scores: `[K + 1]`, by how many steps ago: the share of choices that are read right, or, of numbers, the share of
            their variance that is explained (no less than 0). NaN where too few episodes are that long.
        chance: `[K + 1]`, the score without any memory: of the most frequent choice, or 0.
        of_choices: whether it is choices that are read.
    """

    scores: np.ndarray
    chance: np.ndarray
    of_choices: bool


def observation_targets(space: Space, observation: PyTree) -> Targets:
    """Observations `[B, T, ...]` as what is to be read."""
    match space:
        case Discrete():
            choices: tuple[int, ...] = (space.n,)
        case MultiDiscrete():
            choices = tuple(int(n) for n in space.nvec)
        case _:
            choices = ()

    @jax.jit
    def vectors(observation: PyTree) -> Array:
        numbers: Array = SpaceEncoder(space).apply({}, observation)  # type: ignore[assignment]
        return numbers if choices else numbers[..., :: -(-numbers.shape[-1] // MOST_NUMBERS)]

    return Targets(np.asarray(vectors(observation)), choices)


def linear_readout(vectors: np.ndarray, targets: Targets, done: np.ndarray, max_lag: int) -> Readout:
    """Fit linear maps to the first half of the rows and test them on the other.

    Each is fitted by ridge regression in closed form (`PENALTY`), to at most `MOST_SAMPLES` steps.

    Args:
        vectors: what is read from, such as the carry after each step, `[B, T, D]`, with at least two rows.
        targets: the observations of the same steps.
        done: whether a step is the first of an episode, bool `[B, T]`.
        max_lag: how many steps ago observations are read, `K`.

    Raises:
        ValueError: if there is only one row.
    """
    if len(done) < 2:
        raise ValueError(f"vectors ({len(done)} row) need a row to fit and another one to test: look at two episodes")
    half = len(done) // 2
    train, test = (_Samples.draw(part, done[part], seed) for part, seed in ((slice(half), 0), (slice(half, None), 1)))
    mean = vectors[:half].mean(axis=(0, 1))
    scale = vectors[:half].std(axis=(0, 1)) + 1e-6
    inputs = [
        (vectors[rows.row, rows.time].astype(np.float64) - mean) / (scale * np.sqrt(vectors.shape[-1]))
        for rows in (train, test)
    ]
    gram, across = inputs[0] @ inputs[0].T, inputs[1] @ inputs[0].T
    scores, chances = [], []
    for lag in range(max_lag + 1):
        fitted, tested = train.reaches(lag), test.reaches(lag)
        if min(fitted.sum(), tested.sum()) < FEWEST_SAMPLES:
            scores.append(np.nan)
            chances.append(np.nan)
            continue
        known, hidden = (
            targets.vectors[rows.row[kept], rows.time[kept] - lag] for rows, kept in ((train, fitted), (test, tested))
        )
        kernel = gram[np.ix_(fitted, fitted)] + PENALTY * np.eye(fitted.sum())
        weights = np.linalg.solve(kernel, known - known.mean(axis=0))
        read = known.mean(axis=0) + across[np.ix_(tested, fitted)] @ weights
        scores.append(_score(read, hidden, known, targets.choices))
        chances.append(_score(np.broadcast_to(known.mean(axis=0), hidden.shape), hidden, known, targets.choices))
    return Readout(np.array(scores), np.array(chances), bool(targets.choices))


@dataclass(frozen=True)
class _Samples:
    """Steps of some rows, `[N]`: the row, the step, and how many steps of the episode came before."""

    row: np.ndarray
    time: np.ndarray
    before: np.ndarray

    @classmethod
    def draw(cls, rows: slice, done: np.ndarray, seed: int) -> _Samples:
        """At most `MOST_SAMPLES` steps of rows, drawn without replacement."""
        steps = np.arange(done.shape[1])
        before = steps - np.maximum.accumulate(np.where(done, steps, 0), axis=1)
        chosen = np.random.default_rng(seed).permutation(done.size)[:MOST_SAMPLES]
        row, time = np.unravel_index(chosen, done.shape)
        return cls(row + (rows.start or 0), time, before[row, time])

    def reaches(self, lag: int) -> np.ndarray:
        """Whether the episode is old enough at each step, bool `[N]`."""
        return self.before >= lag


def _score(read: np.ndarray, hidden: np.ndarray, known: np.ndarray, choices: tuple[int, ...]) -> float:
    """How well `[N, D]` is read: the share of choices that are right, or of the variance that is explained."""
    if not choices:
        error, spread = np.sum((read - hidden) ** 2), np.sum((known.mean(axis=0) - hidden) ** 2)
        return float(max(0.0, 1.0 - error / spread)) if spread > 0 else np.nan
    ends = np.cumsum(choices)[:-1]
    pairs = zip(np.split(read, ends, axis=-1), np.split(hidden, ends, axis=-1), strict=True)
    return float(np.mean([np.argmax(a, axis=-1) == np.argmax(b, axis=-1) for a, b in pairs]))
