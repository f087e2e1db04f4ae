"""The rule of the verdict, on made-up returns."""

from __future__ import annotations

import re

import numpy as np
import pytest

from memorax.evaluation.verdict import HELPS, NOT_NEEDED, UNDECIDED, decide

RANDOM = np.array([0.0, 0.1, -0.1, 0.0, 0.0])
SPREAD = np.array([-0.01, 0.0, 0.01, 0.005, -0.005])
WIDE = 40 * SPREAD


@pytest.mark.parametrize(
    ("memoryless", "stack", "recurrent", "word", "reason"),
    [
        (0 + SPREAD, 0 + SPREAD, 0 + SPREAD, UNDECIDED, "nobody is above random play after 1,000 steps"),
        (1 + SPREAD, 1 + SPREAD, 1 + SPREAD, NOT_NEEDED, "no memory is needed to reach this return"),
        (2 + SPREAD, 1 + SPREAD, 1 + SPREAD, NOT_NEEDED, "within 5% of the way"),
        # What is gained is certain, and less than the margin.
        (0.98 + SPREAD, 1 + SPREAD, 0.9 + SPREAD, NOT_NEEDED, "within 5% of the way"),
        (0.8 + SPREAD, 1 + SPREAD, 0.9 + SPREAD, HELPS, "the frame stack is ahead by 0.2"),
        (0.5 + SPREAD, 0.5 + SPREAD, 1 + SPREAD, HELPS, "the recurrent agent is ahead by 0.5 .*; the frame stack is b"),
        (0.5 + SPREAD, 1 + SPREAD, 1.01 + SPREAD, HELPS, "the recurrent agent is ahead .*; the frame stack does as"),
        (0.5 + SPREAD, 1 + WIDE, 1.2 + SPREAD, HELPS, "the frame stack may do as well"),
        # Intervals that overlap are no proof that nothing is gained.
        (0.9 + WIDE, 0.9 + WIDE, 1 + WIDE, UNDECIDED, "the recurrent agent may be ahead of the memoryless one by 0.1"),
        # The one whose seeds differ is what leaves it open.
        (np.ones(5), 0.95 + WIDE, np.ones(5), UNDECIDED, "the frame stack may be ahead of the memoryless one by -0.05"),
        # Without any spread, differences count as they are.
        (np.ones(3), np.ones(3), np.ones(3), NOT_NEEDED, "does as well"),
        (np.ones(3), np.ones(3), np.full(3, 2.0), HELPS, r"ahead by 1 \[1, 1\]"),
    ],
)
def test_the_rule(memoryless: np.ndarray, stack: np.ndarray, recurrent: np.ndarray, word: str, reason: str) -> None:
    remembering = {"the frame stack": stack, "the recurrent agent": recurrent}
    verdict = decide(RANDOM, memoryless, remembering, 1000)
    assert verdict.word == word
    assert re.search(reason, verdict.reason), verdict.reason


def test_the_margin_is_a_part_of_the_way_from_random_play() -> None:
    remembering = {"the recurrent agent": 1.0 + SPREAD}
    assert decide(RANDOM, 0.9 + SPREAD, remembering, 1000, margin=0.2).word == NOT_NEEDED
    assert decide(RANDOM, 0.9 + SPREAD, remembering, 1000, margin=0.05).word == HELPS
    # The same ten hundredths are a smaller part of a longer way.
    assert decide(RANDOM - 10, 0.9 + SPREAD, remembering, 1000, margin=0.05).word == NOT_NEEDED


def test_an_upper_bound_that_nobody_reached_is_told() -> None:
    remembering = {"the recurrent agent": 0.5 + SPREAD}
    assert decide(RANDOM, 0.5 + SPREAD, remembering, 1000, upper_bound=1.0).reason.endswith(
        "; nobody is near 1, the most there can be"
    )
    assert "nobody" not in decide(RANDOM, 0.5 + SPREAD, remembering, 1000, upper_bound=0.51).reason


def test_how_often_chance_alone_decides() -> None:
    """Seeds of one distribution: memory "helps" about as seldom as the risk says, for each side of two comparisons."""
    rng = np.random.default_rng(0)
    draws = 10 + rng.normal(size=(400, 3, 5))
    words = [decide(RANDOM, m, {"a": a, "b": b}, 1000).word for m, a, b in draws]
    assert words.count(HELPS) / 400 < 0.05
    assert words.count(NOT_NEEDED) / 400 < 0.5
    assert UNDECIDED in words
