from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memorax.training.schedule import make_schedule

steps = st.integers(1, 100_000)


@given(st.integers(1, 500), steps, st.none() | steps, st.none() | steps, st.integers(0, 300))
def test_chunks_add_up_to_the_run_from_wherever_it_is_resumed(
    per_iteration: int, total: int, log: int | None, evaluation: int | None, start: int
) -> None:
    schedule = make_schedule(per_iteration, total, log, evaluation, evaluation_steps=128)
    assert (schedule.total - 1) * per_iteration < total <= schedule.total * per_iteration
    iteration = start = start % (schedule.total + 1)
    boundaries = []
    while length := schedule.next_chunk(iteration):
        assert length <= schedule.chunk
        iteration += length
        boundaries.append(iteration)
    assert iteration == schedule.total
    uninterrupted = [*range(schedule.chunk, schedule.total, schedule.chunk), schedule.total]
    assert boundaries == [boundary for boundary in uninterrupted if boundary > start]
    assert schedule.evaluates(schedule.total)


def test_evaluates_at_the_interval() -> None:
    schedule = make_schedule(10, 100, log_interval=20, evaluation_interval=40, evaluation_steps=1000)
    assert [i for i in range(2, 11, 2) if schedule.evaluates(i)] == [4, 8, 10]


@pytest.mark.parametrize(("evaluation_steps", "every"), [(1, 50), (5_000, 50), (20_000, 200)])
def test_by_default_evaluations_take_no_more_steps_than_training(evaluation_steps: int, every: int) -> None:
    schedule = make_schedule(
        100, 100_000, log_interval=1_000, evaluation_interval=None, evaluation_steps=evaluation_steps
    )
    assert [i for i in range(10, 401, 10) if schedule.evaluates(i)] == list(range(every, 401, every))


def test_default_chunks_divide_the_run_and_are_not_long() -> None:
    for iterations in (7, 100, 489, 500, 9766):
        schedule = make_schedule(1000, iterations * 1000, None, None, 1)
        assert iterations % schedule.chunk == 0
        assert schedule.chunk * 1000 <= 100_000
        assert iterations / schedule.chunk <= 400


@pytest.mark.parametrize("name", ["total_steps", "log_interval", "evaluation_interval", "evaluation_steps"])
def test_refuses_numbers_that_are_not_positive(name: str) -> None:
    values = {"total_steps": 10, "log_interval": None, "evaluation_interval": None, "evaluation_steps": 10, name: 0}
    with pytest.raises(ValueError, match=rf"{name} \(0\) must be at least 1"):
        make_schedule(1, **values)


@pytest.mark.parametrize(("interval", "every"), [(10_000, 10_240), (1, 1024), (500_000, 512_000)])
def test_evaluations_come_as_often_as_is_asked_for(interval: int, every: int) -> None:
    schedule = make_schedule(1024, 10_000_000, None, interval, 1024)
    assert schedule.chunk * schedule.chunks_per_evaluation * 1024 == pytest.approx(every, rel=0.3)
    assert schedule.chunk * 1024 <= max(interval, 1024) + 1023
