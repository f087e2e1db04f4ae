"""What follows the end of an episode: the first observation and state of the next, drawn anew."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from memorax.environments.environment import Environment
from memorax.testing.assertions import require
from memorax.testing.environment_play import Play, Steps
from memorax.types import PyTree

MOST_FREQUENT, SELDOM = 0.75, 1e-6
"""Chance is ruled out where the most frequent start is no more frequent than the first, so that its frequency is known
well enough, and all would be alike by chance no more often than the second: about how often a right one is refused."""

BY_ITSELF = "the environments of a batch are drawn and stepped each by itself, not one for all"


class Start(NamedTuple):
    """How the episodes of `E` environments begin, of which a digest is `K` numbers, in `P` plays.

    Attributes:
        what: the first observation, or a part of the state.
        hidden: whether it is a part of the state.
        drawn: what resets return, `[N, E, K]`.
        first: what the reset before each play returned, `[P, E, K]`.
        after: what follows each step, `[P, T, E, K]`.
        done: whether an episode ended with a step, `[P, T, E]`.
    """

    what: str
    hidden: bool
    drawn: np.ndarray
    first: np.ndarray
    after: np.ndarray
    done: np.ndarray


def starts_of(env: Environment, num_envs: int, drawn: list[np.ndarray], plays: Sequence[Play]) -> list[Start]:
    """The first observation, and each part of the state where states can be seen and are each environment's own."""
    done = np.stack([np.asarray(x.steps.terminated | x.steps.truncated)[:, :: env.num_agents] for x in plays])
    first, after = [
        [np.stack(leaves) for leaves in zip(*digests, strict=True)]
        for digests in ([x.digests for x in plays], [x.seen.digests for x in plays])
    ]

    def start(what: str, hidden: bool, places: Sequence[int]) -> Start:
        parts = [[_by_environment(x[i], num_envs) for i in places] for x in (drawn, first, after)]
        of_resets, at_first, of_steps = [np.concatenate(part, axis=-1) for part in parts]
        return Start(what, hidden, of_resets, at_first, of_steps, done)

    observed = len(jax.tree.leaves(plays[0].observation))
    starts = [start("the first observation", False, range(observed))]
    if env.on_host or env.batch_only or env.has_running_statistics:
        return starts
    for i, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(plays[0].state), observed):
        if drawn[i].ndim == 2 and drawn[i].shape[1] % num_envs == 0:
            starts.append(start(f"state{jax.tree_util.keystr(path)}", True, [i]))
    return starts


def _by_environment(digest: np.ndarray, num_envs: int) -> np.ndarray:
    """Digests `[..., E * K]` as `[..., E, K]`."""
    return digest.reshape(*digest.shape[:-1], num_envs, -1)


def chance_of_the_same(start: Start) -> float:
    """How often the most frequent start is drawn: two are alike no more often, by chance."""
    _, counts = np.unique(start.drawn.reshape(-1, start.drawn.shape[-1]), axis=0, return_counts=True)
    return int(np.max(counts)) / int(np.sum(counts))


def seldom(chance: float, number: int, tries: int = 1) -> bool:
    """Whether a number of starts would all be alike by chance as good as never, in one of several tries."""
    return chance <= MOST_FREQUENT and tries * chance**number <= SELDOM


def rows_of(tree: PyTree, lead: int) -> np.ndarray:
    """Every entry of the first `lead` axes as one row of numbers, `[..., D]`."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape(*x.shape[:lead], -1).astype(np.float64) for x in leaves], axis=-1)


def check_ends(env: Environment, steps: Steps, starts: PyTree, num_steps: int) -> None:
    """What follows a step is observed once where the episode goes on, twice where the next one begins."""
    done = np.asarray(steps.terminated | steps.truncated)
    observation, final = rows_of(steps.observation, 2), rows_of(steps.final_observation, 2)
    alike = ((observation == final) | (np.isnan(observation) & np.isnan(final))).all(axis=-1)  # (T, B)
    require(bool(alike[~done].all()), "the final observation is the next one while an episode goes on")
    require(
        bool(done.any()),
        f"an episode of {env.name} ends within num_steps ({num_steps}) of random play: nothing about ends was checked, "
        "pass more num_steps",
    )
    if env.has_running_statistics:  # what is observed changes scale from step to step
        return
    first = rows_of(starts, 2)
    starts_seen, counts = np.unique(first.reshape(-1, first.shape[-1]), axis=0, return_counts=True)
    most_frequent = int(np.max(counts)) / int(np.sum(counts))
    for kind, ended in _kinds_of_ends(steps).items():
        if not ended.any():
            continue
        # Others may come too, though so rarely that none was drawn.
        require(
            len(starts_seen) > 1 or (observation[ended] == starts_seen).all(axis=-1).mean() > 0.5,
            f"an episode that ended is followed by the first observation of the next, where one {kind}",
        )
        # By chance an end looks like the next start at most as often as the most frequent start does. Agents end
        # together.
        by_chance = most_frequent ** (ended.sum() / env.num_agents)
        require(
            not bool(alike[ended].all()) or bool(by_chance > 1e-3),
            "an episode ends with its own final observation and is followed by the next one's first: the two are the "
            f"same wherever an episode {kind}, although first observations vary",
        )


def check_starts_vary(starts: Sequence[Start]) -> None:
    """Where starts vary, episodes do not all begin alike, or as the one before them did."""
    for start in starts:
        chance = chance_of_the_same(start)
        done, after = start.done[0], start.after[0]  # (T, E), (T, E, K)
        begun = [after[done[:, i], i] for i in range(done.shape[1])]  # for each environment (N, K)
        every = np.concatenate(begun)
        repeated = {
            "the environment's first": [x == y for x, y in zip(begun, start.first[0], strict=True)],
            "the one before it": [x[1:] == x[:-1] for x in begun],
            "any other": [every[1:] == every[:-1]],
        }
        for which, comparisons in repeated.items():
            alike: np.ndarray = np.all(np.concatenate(comparisons), axis=-1)
            by_chance = not seldom(chance, len(alike)) if start.hidden else chance ** len(alike) > 1e-3
            require(
                not alike.all() or by_chance,
                f"an episode that ended is followed by a start that is drawn anew: although {_varies(start)}, each of "
                f"{len(alike)} began as {which} did",
            )


def check_starts_together(starts: Sequence[Start]) -> None:
    """Where starts vary, environments that end at the same step do not always begin alike."""
    for start in starts:
        done = start.done.reshape(-1, start.done.shape[-1])  # (P * T, E)
        after = start.after.reshape(*done.shape, -1)  # (P * T, E, K)
        pairs = list(itertools.combinations(range(done.shape[1]), 2))
        together = [after[done[:, i] & done[:, j]][:, [i, j]] for i, j in pairs]  # for each pair (N, 2, K)
        several = [after[step, done[step]] for step in np.flatnonzero(done.sum(axis=1) > 1)]
        neighbours = [np.stack([x[1:], x[:-1]], axis=1) for x in several]  # each drawn by itself, as not all pairs are
        chance, tries = chance_of_the_same(start), len(pairs) + 1
        for begun in [*together, np.concatenate(neighbours)] if neighbours else []:
            alike = bool((begun[:, 0] == begun[:, 1]).all())
            require(
                not alike or not seldom(chance, len(begun), tries),
                f"{BY_ITSELF}: although {_varies(start)}, two that end at the same step are followed by the same start "
                f"each of {len(begun)} times",
            )


def check_starts_by_the_key(starts: Sequence[Start]) -> None:
    """Where environments end at the same step of several plays by the same keys, the next episodes are the same.

    Nothing is left to chance: these are numbers of the same program, computed from the same keys.
    """
    for start in starts:
        number = wrong = 0
        for i, j in itertools.combinations(range(len(start.done)), 2):
            both = start.done[i] & start.done[j]  # (T, E)
            number += int(both.sum())
            wrong += int((start.after[i] != start.after[j]).any(axis=-1)[both].sum())
        require(
            wrong == 0,
            f"what follows an end depends on the key alone, not on the episode that ended: {start.what} is another one "
            f"after {wrong} of {number} ends, by the same key",
        )


def check_resets_are_drawn(starts: Sequence[Start]) -> None:
    """Where starts after an end vary, those after a reset do too."""
    for start in starts:
        resets = len(start.drawn)
        if (start.drawn != start.drawn[:1]).any():
            continue
        by_chance = 1.0
        for i in range(start.done.shape[-1]):
            begun = start.after[:, :, i][start.done[:, :, i]]  # (N, K)
            _, counts = np.unique(begun, axis=0, return_counts=True)
            others = len(begun) - int(np.max(counts, initial=0))
            # In any order of resets and ends, how often those that differ are all among the ends: this at most.
            by_chance *= (len(begun) / (len(begun) + resets)) ** others
        require(
            by_chance > SELDOM,
            f"a reset of a batch draws each start anew: {start.what} of each environment is the same after {resets} "
            "resets by other keys, although it varies after ends",
        )


def _varies(start: Start) -> str:
    return f"{start.what} varies" if start.hidden else "first observations vary"


def check_first_states(play: Play, drawn: Sequence[np.ndarray]) -> None:
    """What is the same in all first states, such as a count of steps, is so again after an end of either kind.

    Args:
        play: what was played.
        drawn: digests of first states, for each leaf `[N, E]`.
    """
    for kind, done in _kinds_of_ends(play.steps).items():
        for digest, as_at_first in zip(drawn, play.seen.as_at_first, strict=True):
            if as_at_first.ndim != 2 or done.shape[1] % as_at_first.shape[1] or not done.any():
                continue
            kept = np.repeat(as_at_first, done.shape[1] // as_at_first.shape[1], axis=1)
            # Others may come too, though so rarely that none was drawn.
            require(
                bool((digest != digest[0, 0]).any()) or kept[done].mean() > 0.5,
                "an episode that ended is followed by the first state of the next: a part that is the same in all "
                f"first states is another one where an episode {kind}",
            )


def _kinds_of_ends(steps: Steps) -> dict[str, np.ndarray]:
    """Where episodes ended, `[T, B]`, in any way and in each."""
    terminated, truncated = np.asarray(steps.terminated), np.asarray(steps.truncated)
    return {"ended": terminated | truncated, "terminated": terminated, "was truncated": truncated}
