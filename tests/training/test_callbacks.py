"""Callbacks, patience, and the checkpoints that stay."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from memorax.algorithms.algorithm import Agent
from memorax.training import Event, Interrupted, TrainingResult, evaluate_run, load_run, train
from memorax.training.best import Best
from memorax.training.checkpoints import Checkpoints, to_arrays
from tests.training.small import CONFIG, STEPS, assert_same, run, small_agent
from tests.training.test_loop import Recorder

EVERY_CHUNK = {
    "log_interval": STEPS,
    "evaluation_interval": STEPS,
    "evaluation_steps": 128,
    "num_seeds": 2,
    "loggers": [],
}


@pytest.fixture(scope="module")
def agent() -> Agent:
    return small_agent()


@pytest.fixture(scope="module")
def whole(agent: Agent) -> TrainingResult:
    return run(agent, CONFIG, None)


def kept(folder: Path) -> list[int]:
    return Checkpoints(folder / "checkpoints").steps


def best(folder: Path) -> dict[str, Any]:
    steps = kept(folder)
    return json.loads((folder / "checkpoints" / str(steps[-1]) / "facts.json").read_text())["best"]


class Scores:
    """Takes the place of evaluations: the score after each chunk, of both seeds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
        def evaluated(run: Any, rows: Any, state: Any) -> Any:
            score = scores[int(rows[0]["step"]) // STEPS - 1]
            return [{**row, "evaluation_return": score} for row in rows]

        monkeypatch.setattr("memorax.training.loop._Run._evaluated", evaluated)


def test_a_callback_sees_each_chunk_and_changes_nothing(agent: Agent, whole: TrainingResult) -> None:
    seen: list[Event] = []
    entropies = []

    def look(event: Event) -> None:
        seen.append(event)
        entropies.append([row["entropy"] for row in event.rows])
        assert jax.tree.leaves(event.states)[0].shape[0] == 2
        assert np.asarray(event.states.step).tolist() == [event.step] * 2

    result = train(agent, 8 * STEPS, seed=3, callbacks=[look], **{**EVERY_CHUNK, "evaluation_interval": 4})
    assert_same(result, whole)
    assert [event.step for event in seen] == [STEPS * i for i in range(1, 9)]
    assert all(event.agent is agent for event in seen)
    assert [row["evaluation_return"] for row in seen[-1].rows] == [r["evaluation_return"] for r in whole.metrics]
    assert entropies[-1] == [row["entropy"] for row in whole.metrics]


def test_a_callback_may_stop_the_run_which_goes_on_when_resumed(
    agent: Agent, tmp_path: Path, whole: TrainingResult
) -> None:
    def enough(event: Event) -> bool:
        return event.step >= 3 * STEPS

    settings = {**EVERY_CHUNK, "folder": tmp_path / "run", "seed": 3}
    result = train(agent, 8 * STEPS, callbacks=[enough], **settings)
    assert (result.step, result.stopped) == (3 * STEPS, "enough stopped the run")
    assert_same(train(agent, 8 * STEPS, resume=True, **settings), whole)


def test_what_a_callback_saves_stays_and_is_loaded_by_its_step(agent: Agent, tmp_path: Path) -> None:
    states = {}

    def save(event: Event) -> None:
        if event.step in (2 * STEPS, 8 * STEPS):
            event.save()
        states[event.step] = to_arrays(event.states)

    folder = tmp_path / "run"
    settings = {**EVERY_CHUNK, "evaluation_interval": 100 * STEPS, "folder": folder, "checkpoint_seconds": 0.0}
    train(agent, 8 * STEPS, callbacks=[save], **settings)
    assert kept(folder) == [2 * STEPS, 7 * STEPS, 8 * STEPS]
    train(agent, 11 * STEPS, resume=True, keep_checkpoints=1, **settings)
    assert kept(folder) == [2 * STEPS, 8 * STEPS, 11 * STEPS]
    loaded = load_run(folder, agent, step=2 * STEPS)
    assert loaded.step == 2 * STEPS
    for name, array in to_arrays(loaded.states).items():
        np.testing.assert_array_equal(array, states[2 * STEPS][name], err_msg=name)
    assert evaluate_run(folder, 64, agent=agent, step=8 * STEPS).step == 8 * STEPS
    with pytest.raises(
        ValueError, match=r"step \(32\): that checkpoint does not exist .* from last, best, 64, 256, 352"
    ):
        load_run(folder, agent, step=STEPS)
    with pytest.raises(ValueError, match="cannot save a run without a folder"):
        train(agent, STEPS, callbacks=[lambda event: event.save()], **EVERY_CHUNK)


def test_the_best_checkpoint_is_kept_and_known_after_a_resume(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scores(monkeypatch, 1.0, 3.0, float("nan"), 3.0, 2.0, 2.0, 4.0, 1.0)
    settings = {**EVERY_CHUNK, "folder": tmp_path / "run", "checkpoint_seconds": 1000.0, "keep_checkpoints": 1}
    train(agent, 6 * STEPS, **settings)
    assert kept(tmp_path / "run") == [2 * STEPS, 6 * STEPS], "of equal scores the first, and never NaN"
    assert best(tmp_path / "run") == {"step": 2 * STEPS, "score": 3.0, "evaluations_since": 4}
    assert load_run(tmp_path / "run", agent, step="best").step == 2 * STEPS
    train(agent, 8 * STEPS, resume=True, **settings)
    assert kept(tmp_path / "run") == [7 * STEPS, 8 * STEPS]
    assert load_run(tmp_path / "run", agent, step="best").step == 7 * STEPS


def test_patience_ends_a_run_also_after_a_resume(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Scores(monkeypatch, 1.0, 3.0, 2.0, 2.0, 2.0, 4.0, 1.0, 1.0)
    settings = {**EVERY_CHUNK, "folder": tmp_path / "run", "patience": 3}
    assert train(agent, 3 * STEPS, **settings).stopped is None
    stopped = "none of the last 3 evaluations was better than that at step 64"
    result = train(agent, 8 * STEPS, resume=True, **settings)
    assert (result.step, result.stopped) == (5 * STEPS, stopped)
    again = train(agent, 8 * STEPS, resume=True, **settings)
    assert (again.step, again.metrics, again.stopped) == (5 * STEPS, [], stopped)
    longer = train(agent, 8 * STEPS, resume=True, **{**settings, "patience": 4})
    assert (longer.step, longer.stopped) == (8 * STEPS, None)


def test_the_best_evaluation_is_a_mean_over_seeds() -> None:
    rows = [{"seed": 0, "step": 10, "evaluation_return": 1.0}, {"seed": 1, "step": 10, "evaluation_return": 2.0}]
    assert Best().after(rows) == Best(10, 1.5)
    assert Best(5, 1.5).after(rows) == Best(5, 1.5, 1)
    assert Best(5, 1.5).after([{"seed": 0, "step": 10}]) == Best(5, 1.5), "no evaluation"
    assert Best().after([{**rows[0], "evaluation_return": float("inf")}]) == Best(evaluations_since=1)


def test_an_evaluation_made_up_for_may_be_the_best(agent: Agent, tmp_path: Path) -> None:
    """The run is interrupted where its only evaluation is due; what the resume finds is then the best."""

    class Stop(Recorder):
        def status(self, text: str) -> None:
            super().status(text)
            if self.statuses.count("training") == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "run"
    config = dataclasses.replace(CONFIG, checkpoint_seconds=1000.0)
    with pytest.raises(Interrupted):
        run(agent, config, folder, [Stop()])
    assert best(folder)["step"] is None
    run(agent, config, folder, resume=True)
    assert best(folder)["step"] in (4 * STEPS, 8 * STEPS)
    assert load_run(folder, agent, step="best").step == best(folder)["step"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callbacks": [lambda event: 3]}, r"callback <lambda> returned 3: return True to stop the run, and None or"),
        ({"callbacks": len}, r"callbacks \(<built-in function len>\) must be a list of functions of an Event"),
        ({"callbacks": [1]}, r"callbacks \(\[1\]\) must be a list of functions of an Event, such as \[callback\]"),
        ({"patience": 0}, r"patience \(0\) must be at least 1"),
        ({"keep_checkpoints": 0}, r"keep_checkpoints \(0\) must be at least 1"),
    ],
)
def test_wrong_uses_say_what_to_do(agent: Agent, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(agent, STEPS, **EVERY_CHUNK, **arguments)
