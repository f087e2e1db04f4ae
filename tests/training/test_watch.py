from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from memorax.training.finite import Learned
from memorax.training.watch import CHUNKS, GRACE_SECONDS, Watch


@pytest.fixture
def watch() -> Watch:
    return Watch(logging.getLogger("watched"), log_interval=1000)


def row(step: int = 10, **columns: Any) -> dict[str, Any]:
    return {"seed": 3, "step": step, "seconds": 1.0, **columns}


def episodes(value: float, count: int, length: float = 5.0) -> dict[str, Any]:
    return {"return": value, "length": length, "episodes": count}


def test_what_is_not_finite_is_told_once_for_each_seed_and_quantity(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (10, 20):
        watch.see_rows([row(step, loss=float("nan"), entropy=1.0), {**row(step, loss=float("inf")), "seed": 4}])
    told = ["seed 3 at step 10: loss not finite", "seed 4 at step 10: loss not finite"]
    assert caplog.messages == told
    watch.see_rows([row(30, loss=float("nan"), entropy=float("nan"))])
    assert caplog.messages == [*told, "seed 3 at step 30: entropy not finite"]


def test_episodes_of_one_step_are_told(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    watch.see_rows([row(**episodes(1.0, 2, 1.5))])
    assert caplog.messages == []
    for _ in range(2):
        watch.see_rows([row(**episodes(1.0, 2, 1.0))])
    (message,) = caplog.messages
    assert message.startswith("every episode of seed 3 in the chunk up to step 10 took one step")


def test_returns_that_never_change_are_told(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(CHUNKS - 1):
        watch.see_rows([row(**episodes(0.0, 60))])
        watch.see_rows([row(episodes=0)])
    assert caplog.messages == []
    for _ in range(2):
        watch.see_rows([row(**episodes(0.0, 60))])
    (message,) = caplog.messages
    assert message.startswith("the return of seed 3 was 0 in each of its first 600 episodes")


def test_a_few_episodes_may_have_one_return(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2 * CHUNKS):
        watch.see_rows([row(**episodes(0.0, 1))])
    assert caplog.messages == []


def test_returns_that_changed_once_are_not_told(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    watch.see_rows([row(**episodes(1.0, 60))])
    watch.see_rows([row(**episodes(2.0, 1))])
    for _ in range(2 * CHUNKS):
        watch.see_rows([row(**episodes(1.0, 60))])
    assert caplog.messages == []


def test_returns_that_never_come_are_told(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(CHUNKS - 1):
        watch.see_rows([row(episodes=0)])
    watch.see_rows([row(**episodes(1.0, 1))])
    for _ in range(CHUNKS - 1):
        watch.see_rows([row(episodes=0)])
    assert caplog.messages == []
    for step in (50, 60):
        watch.see_rows([row(step, episodes=0)])
    (message,) = caplog.messages
    assert message.startswith(f"no episode ended in the last {CHUNKS} chunks, up to step 50")


def test_a_frozen_policy_is_told(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    def learned(*policies: int) -> Learned:
        return Learned({}, np.array(policies, np.uint32))

    rows = [row(updates=1), {**row(updates=1), "seed": 4}]
    for _ in range(3 * CHUNKS):
        watch.see_learned(learned(7, 7), [row(updates=0), row(updates=0)])
    for chunk in range(CHUNKS):
        watch.see_learned(learned(7, 8 + chunk), rows)
    assert caplog.messages == [], "nothing is learned before the first update, and the first chunk compares with none"
    watch.see_learned(learned(7, 0), rows)
    (message,) = caplog.messages
    assert message.startswith(
        f"the policy of seed 3 is frozen: its parameters did not change in the last {CHUNKS} chunks"
    )


def test_a_chunk_longer_than_clusters_wait_is_told(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    watch.see_chunk(GRACE_SECONDS)
    assert caplog.messages == []
    watch.see_chunk(95.0)
    watch.see_chunk(96.0)
    (message,) = caplog.messages
    assert message.startswith("a chunk of 1,000 steps takes 95 seconds")
    assert message.endswith("make log_interval smaller")


def test_a_run_without_updates_is_told(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    for updates in (0.0, 0.0):
        watch.see_rows([row(updates=updates)])
    watch.see_end(2_000)
    assert caplog.messages == [
        "nothing was learned: no update was made in 2,000 steps. The first one waits for learning_starts steps, and "
        "for a replay buffer that holds a sequence"
    ]


@pytest.mark.parametrize("columns", [{}, {"updates": 2.0}])
def test_a_run_that_learned_is_not_told_of_at_its_end(
    columns: Any, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.see_rows([row(**columns)])
    watch.see_rows([row(**(columns and {"updates": 0.0}))])
    watch.see_end(2_000)
    assert not caplog.messages
