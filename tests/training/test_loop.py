from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.algorithms import PPO, DQNConfig
from memorax.algorithms.algorithm import Agent
from memorax.evaluation import read_metrics
from memorax.evaluation.curves import group_curves
from memorax.loggers import FileLogger, Logger, Outcome, Row, RunDescription
from memorax.training import (
    Interrupted,
    TrainConfig,
    TrainingResult,
    build_agent,
    evaluate_run,
    load_run,
    loop,
    render_run,
    run_config,
    train,
)
from memorax.training.checkpoints import Checkpoints, to_arrays
from memorax.training.description import changes, describe_agent
from memorax.training.finite import Learned
from memorax.training.folder import owned
from memorax.training.record import RunRecord, read_record
from memorax.training.run import resume_run
from memorax.training.watch import Watch
from tests.training.small import CONFIG, STEPS, assert_same, metrics_without_time, run, small_agent


@pytest.fixture(scope="module")
def agent() -> Agent:
    return small_agent()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """An uninterrupted run."""
    return run_config(CONFIG, tmp_path_factory.mktemp("runs") / "whole")


class Recorder(Logger):
    """Keeps what it is told, and does something after a number of rows."""

    def __init__(self, after: int = 0, action: Any = None) -> None:
        super().__init__(None)
        self.rows: list[Row] = []
        self.after = after
        self.action = action
        self.outcome: Outcome | None = None
        self.statuses: list[str] = []

    def start(self, run: RunDescription) -> None:
        self.run = run

    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        self.rows.extend(rows)
        if self.action is not None and len(self.rows) == self.after:
            self.action()

    def status(self, text: str) -> None:
        self.statuses.append(text)

    def close(self, outcome: Outcome) -> None:
        self.outcome = outcome


def test_a_run_leaves_config_metrics_checkpoints_and_a_picture(whole: tuple[Path, TrainingResult]) -> None:
    folder, result = whole
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "config.json",
        "metrics.csv",
        "checkpoints",
        "learning_curve.png",
    }
    table = read_metrics(folder)
    assert table["seed"].tolist() == [3, 4] * 8
    assert table["step"].tolist() == [STEPS * i for i in range(1, 9) for _ in range(2)]
    assert (np.diff(table["seconds"]) >= 0).all()
    evaluated = ~np.isnan(table["evaluation_return"])
    assert sorted(set(table["step"][evaluated])) == [4 * STEPS, 8 * STEPS]
    assert result.step == 8 * STEPS
    assert np.asarray(result.state.step).tolist() == [8 * STEPS] * 2
    assert result.metrics[1]["entropy"] == pytest.approx(table["entropy"][-1])
    assert np.isfinite(table["policy_loss"]).all()


def test_episodes_are_counted_as_they_end(whole: tuple[Path, TrainingResult]) -> None:
    """128 steps in each of two environments whose episodes take 51."""
    table = read_metrics(whole[0])
    for seed in (3, 4):
        chosen = (table["seed"] == seed) & (table["episodes"] > 0)
        assert table["episodes"][chosen].tolist() == [2, 2]
        assert table["step"][chosen].tolist() == [4 * STEPS, 7 * STEPS]
        assert table["length"][chosen].tolist() == [51, 51]
        assert (np.abs(table["return"][chosen]) <= 1).all()
    idle = table["episodes"] == 0
    assert np.isnan(table["return"][idle]).all()


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult]
) -> None:
    folder = tmp_path / "run"
    for number in (signal.SIGINT, signal.SIGTERM):
        stop = Recorder(4, lambda number=number: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=f"go on with `memorax resume {folder}`") as raised:
            run(agent, CONFIG, folder, [stop], resume=folder.exists())
        assert raised.value.signal == number
    assert raised.value.step == 4 * STEPS
    result = resume_run(folder)
    assert_same(result, whole[1])
    one, other = metrics_without_time(folder), metrics_without_time(whole[0])
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_finished_run_is_resumed_to_do_nothing_or_to_go_on(
    agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult]
) -> None:
    folder = tmp_path / "run"
    run(agent, dataclasses.replace(CONFIG, total_steps=2 * STEPS), folder)
    assert resume_run(folder).metrics == []
    assert_same(resume_run(folder, total_steps=8 * STEPS), whole[1])
    record = read_record(folder)
    assert (record.total_steps, record.config["total_steps"]) == (8 * STEPS, 8 * STEPS)
    assert [life["step"] for life in record.resumed] == [2 * STEPS], "a resume that had nothing to do is none"


def test_evaluation_leaves_training_alone(agent: Agent, whole: tuple[Path, TrainingResult]) -> None:
    recorder = Recorder()
    often = dataclasses.replace(CONFIG, evaluation_interval=STEPS)
    assert_same(run(agent, often, None, [recorder]), whole[1])
    assert not np.isnan([row["evaluation_return"] for row in recorder.rows]).any()
    assert recorder.outcome == "completed"


def test_seeds_train_as_they_do_alone(agent: Agent, whole: tuple[Path, TrainingResult]) -> None:
    recorder = Recorder()
    result = train(agent, 8 * STEPS, seed=4, log_interval=STEPS, evaluation_steps=128, loggers=[recorder])
    alone, together = to_arrays(result.state), to_arrays(whole[1].state)
    for name, array in alone.items():
        np.testing.assert_array_equal(array[0], together[name][1], err_msg=name)


def test_a_second_run_with_the_same_agent_compiles_nothing(agent: Agent, whole: tuple[Path, TrainingResult]) -> None:
    run(agent, CONFIG, None)
    recorder = Recorder()
    assert_same(run(agent, CONFIG, None, [recorder]), whole[1])
    assert "compiling" not in recorder.statuses


def test_nothing_grows_with_the_length_of_a_run(agent: Agent) -> None:
    live = []
    for chunks in (2, 8):
        result = run(agent, dataclasses.replace(CONFIG, total_steps=chunks * STEPS), None)
        live.append(len(jax.live_arrays()))
        assert len(result.metrics) == 2
        del result
    assert live[0] == live[1]


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult]
) -> None:
    folder = tmp_path / "run"

    def fail() -> None:
        raise SystemExit("as sudden as a kill")

    with pytest.raises(SystemExit, match="sudden"):
        run(agent, CONFIG, folder, [Recorder(2, fail)])
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        load_run(folder)
    assert_same(run(agent, CONFIG, folder, resume=True), whole[1])
    assert len(read_metrics(folder)["step"]) == 16


def test_a_logger_that_fails_stops_neither_training_nor_saving(
    agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult], caplog: pytest.LogCaptureFixture
) -> None:
    class Unreachable(Recorder):
        def start(self, run: RunDescription) -> None:
            raise ConnectionError("no network")

        def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
            super().log(rows, steps_per_second)
            raise ConnectionError("no network")

        def close(self, outcome: Outcome) -> None:
            raise ConnectionError("still none")

    unreachable, other = Unreachable(), Recorder()
    assert_same(run(agent, CONFIG, tmp_path / "run", [unreachable, other]), whole[1])
    assert len(unreachable.rows) == len(other.rows) == 16, "it goes on being called, and so do the others"
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps[-1] == 8 * STEPS
    assert [record.getMessage() for record in caplog.records] == [
        "Unreachable failed, and the run goes on: ConnectionError: no network"
    ]


def test_a_logger_may_refuse_the_run(agent: Agent) -> None:
    class Refuses(Recorder):
        def start(self, run: RunDescription) -> None:
            raise ValueError("no such project")

    with pytest.raises(ValueError, match="no such project"):
        run(agent, CONFIG, None, [Refuses()])


def test_loggers_hear_how_a_run_ended_and_which_it_is(agent: Agent, tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    stop = Recorder(2, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(Interrupted, match=r"go on with `train\(agent, \.\.\., folder='.*mine', resume=True\)`"):
        train(agent, 8 * STEPS, folder=tmp_path / "mine", loggers=[stop], log_interval=STEPS, group="ours", tags=["a"])
    failed = Recorder(1, fail)
    again = {"folder": tmp_path / "mine", "resume": True, "log_interval": STEPS, "evaluation_steps": 128}
    with pytest.raises(KeyboardInterrupt):
        train(agent, 8 * STEPS, loggers=[failed], **again)
    completed = Recorder()
    train(agent, 8 * STEPS, loggers=[completed], **again)
    recorders = (stop, failed, completed)
    assert [recorder.outcome for recorder in recorders] == ["interrupted", "failed", "completed"]
    assert len({recorder.run.id for recorder in recorders}) == 1
    assert {(r.run.name, r.run.group, r.run.tags) for r in recorders} == {("mine", "ours", ("a",))}


def test_after_a_signal_nothing_new_begins_and_what_was_due_is_made_up_for(
    agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult]
) -> None:
    """The signal comes while the chunk runs after which the last evaluation is due."""

    class Stop(Recorder):
        def status(self, text: str) -> None:
            super().status(text)
            if self.statuses.count("training") == 8:
                os.kill(os.getpid(), signal.SIGTERM)

    folder, stop = tmp_path / "run", Stop()
    with pytest.raises(Interrupted) as raised:
        run(agent, dataclasses.replace(CONFIG, checkpoint_seconds=1000.0), folder, [stop])
    assert raised.value.step == 8 * STEPS
    after = stop.statuses[len(stop.statuses) - stop.statuses[::-1].index("training") :]
    assert not {"evaluating", "compiling", "tracing"} & set(after)
    assert read_metrics(folder)["step"][-1] == 7 * STEPS

    assert_same(run(agent, CONFIG, folder, resume=True), whole[1])
    one, other = metrics_without_time(folder), metrics_without_time(whole[0])
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert run(agent, CONFIG, folder, resume=True).metrics == [], "it is complete now"


def test_every_chunk_is_watched(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    class Seen(Watch):
        def see_rows(self, rows: Sequence[Row]) -> None:
            seen.append(("rows", int(rows[0]["step"])))

        def see_learned(self, learned: Learned, rows: Sequence[Row]) -> None:
            seen.append(("learned", len(set(learned.policy.tolist()))))

        def see_chunk(self, seconds: float) -> None:
            assert 0 < seconds < 60
            seen.append(("chunk", self._log_interval))

    monkeypatch.setattr("memorax.training.loop.Watch", Seen)
    run(agent, dataclasses.replace(CONFIG, total_steps=2 * STEPS), None)
    one, other = ([("chunk", STEPS), ("learned", 2), ("rows", step)] for step in (STEPS, 2 * STEPS))
    assert seen == [*one, *other]


def test_an_evaluation_too_short_for_the_episodes_is_told_and_counted(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    config = dataclasses.replace(CONFIG, evaluation_steps=80, total_steps=STEPS)
    (row, _) = run(agent, config, None).metrics
    assert row["evaluation_unfinished"] == 2, "episodes take 51 steps, and each environment 40"
    (record,) = caplog.records
    assert "4 of the 4 episodes of an evaluation had not ended" in record.getMessage()


def test_evaluates_the_agents_of_a_run(whole: tuple[Path, TrainingResult]) -> None:
    evaluation = evaluate_run(whole[0], num_steps=256)
    assert (evaluation.step, evaluation.seeds) == (8 * STEPS, [3, 4])
    assert all(
        len(returns) == len(lengths) > 0
        for returns, lengths in zip(evaluation.returns, evaluation.lengths, strict=True)
    )
    again = evaluate_run(whole[0], num_steps=256)
    np.testing.assert_array_equal(again.returns[0], evaluation.returns[0])
    short = evaluate_run(whole[0], num_steps=2)
    assert (short.unfinished, [lengths.tolist() for lengths in short.lengths]) == ([2, 2], [[1, 1]] * 2)


def test_bad_arguments_are_named(agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult]) -> None:
    for arguments, message in (
        ({"total_steps": 0}, r"total_steps \(0\)"),
        ({"total_steps": 1.5}, r"total_steps \(1.5\) must be a whole number"),
        ({"total_steps": 1, "num_seeds": 0}, r"num_seeds \(0\)"),
        ({"total_steps": 1, "seed": -1}, r"seed \(-1\)"),
        ({"total_steps": 1, "seed": [1, 2]}, r"seed \(\[1, 2\]\) must be a whole number"),
        ({"total_steps": 1, "loggers": "file"}, r"loggers \('file'\) must be a list of loggers"),
        ({"total_steps": 1, "loggers": ["file"]}, r"loggers \(\['file'\]\) must be a list of loggers"),
        ({"total_steps": 1, "agent": CONFIG}, r"agent \(TrainConfig\) must be an agent: memorax.training.run_config"),
        ({"total_steps": 1, "evaluation_steps": 0}, r"evaluation_steps \(0\)"),
        ({"total_steps": 1, "resume": True}, "resume needs the folder"),
        ({"total_steps": 1, "folder": whole[0]}, "holds another run: go on with it by `memorax resume"),
        ({"total_steps": 1, "folder": whole[0] / "config.json"}, "is a file: choose another folder"),
        ({"total_steps": 1, "folder": tmp_path, "resume": True}, "holds no config.json"),
    ):
        with pytest.raises(ValueError, match=message):
            train(**{"agent": agent, **arguments})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("checkpoint_seconds", ["x", None, math.nan, -1, True], "must be a number of seconds, 0 or more"),
        ("keep_checkpoints", [1.5, None, math.nan, "two"], "must be a whole number"),
        ("keep_checkpoints", [0], "must be at least 1"),
        ("patience", [1.5, math.nan, "two"], "must be a whole number"),
        ("evaluation_steps", ["x", 64.5, math.nan], "must be a whole number"),
        ("log_interval", ["a", 2.5, math.nan, math.inf], "must be a whole number"),
        ("evaluation_interval", ["x", math.nan], "must be a whole number"),
        ("devices", ["x", 1.5], "must be a whole number"),
        ("folder", [5, b"x", True, ""], "must be a path, such as 'runs/mine'"),
        ("config", ["x", [1]], "must be settings by name, a dictionary"),
        ("tags", [5, "abc", [1]], "must be a list of texts, such as ['"),
        ("group", [5], "must be text"),
        ("callbacks", [None], "must be a list of functions of an Event"),
        ("debug", ["no"], "must be True or False"),
        ("resume", ["yes"], "must be True or False"),
    ],
)
def test_arguments_of_another_kind_are_named_before_a_run_begins(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, values: list[Any], message: str
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(loop._Run, "train", lambda run: begun.append(run.schedule.total))
    for value in values:
        given = {"folder": tmp_path / "run", "loggers": [], name: value}
        with pytest.raises(ValueError) as raised:
            train(agent, STEPS, **given)
        assert str(raised.value).startswith(f"{name} (") and message in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not begun and not (tmp_path / "run").exists()


def test_numbers_may_be_written_in_every_way(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(loop._Run, "train", lambda run: begun.append(run))
    train(
        agent,
        STEPS,
        loggers=[],
        log_interval=np.float64(STEPS),  # type: ignore[arg-type]
        evaluation_steps="64",  # type: ignore[arg-type]
        checkpoint_seconds=math.inf,
        patience=2.0,  # type: ignore[arg-type]
        devices=1.0,  # type: ignore[arg-type]
        tags={"a"},  # type: ignore[arg-type]
    )
    (run,) = begun
    assert (run.evaluation_steps, run.checkpoint_seconds, run.patience, run.record.tags) == (64, math.inf, 2, ("a",))


def test_what_is_no_folder_is_named_by_all_that_take_one(tmp_path: Path) -> None:
    calls: tuple[Any, ...] = (
        load_run,
        evaluate_run,
        render_run,
        resume_run,
        lambda folder: run_config(CONFIG, folder) if folder is not None else load_run(None),  # type: ignore[arg-type]
    )
    for call in calls:
        for value in (None, 5, b"x", ""):
            with pytest.raises(ValueError) as raised:
                call(value)
            assert str(raised.value) == f"folder ({value!r}) must be a path, such as 'runs/mine'"
    for call in (evaluate_run, render_run):
        with pytest.raises(ValueError, match=r"^deterministic \('no'\) must be True or False$"):
            call(tmp_path, deterministic="no")  # type: ignore[operator]


def test_an_agent_made_by_hand_is_resumed_from_python(agent: Agent, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    train(agent, 2 * STEPS, folder=folder, evaluation_steps=128, loggers=[FileLogger(folder)])
    with pytest.raises(ValueError, match=r"agent was made in Python: pass it, .* `memorax\.training\.train"):
        resume_run(folder)
    loaded = load_run(str(folder), agent=agent)
    assert (loaded.config, loaded.step, list(loaded.seeds)) == (None, 2 * STEPS, [0])
    assert evaluate_run(str(folder), num_steps=256, agent=agent).seeds == [0]
    assert len(group_curves([folder], [read_metrics(str(folder))], "evaluation_return")) == 1
    result = train(agent, 4 * STEPS, folder=folder, resume=True, evaluation_steps=128, loggers=[FileLogger(folder)])
    assert_same(result, train(agent, 4 * STEPS, log_interval=STEPS, evaluation_steps=128, loggers=[]))
    other = build_agent(dataclasses.replace(CONFIG, features=8))
    with pytest.raises(ValueError, match="was saved by another agent"):
        train(other, 8 * STEPS, folder=folder, resume=True, loggers=[])


def test_what_a_run_says_of_itself_stays_true(agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult]) -> None:
    folder = tmp_path / "run"
    run(agent, dataclasses.replace(CONFIG, total_steps=2 * STEPS), folder)
    before = (folder / "config.json").read_text()
    other = build_agent(dataclasses.replace(CONFIG, features=8))
    for trained, arguments, message in (
        (other, {}, "was saved by another agent"),
        (agent, {"seed": 5}, r"seed \(5\) must be 3, as in the run in"),
        (agent, {"num_seeds": 1}, r"num_seeds \(1\) must be 2, as in the run in"),
    ):
        asked = {"seed": 3, "num_seeds": 2, **arguments}
        with pytest.raises(ValueError, match=message):
            train(trained, 4 * STEPS, folder=folder, resume=True, loggers=[], **asked)
        assert (folder / "config.json").read_text() == before
    train(agent, 3 * STEPS, seed=3, num_seeds=2, folder=folder, resume=True, evaluation_steps=128, loggers=[])
    first, last = json.loads(before), json.loads((folder / "config.json").read_text())
    assert last["config"] == {**first["config"], "total_steps": 3 * STEPS}
    assert {name for name in last if last[name] != first[name]} == {"config", "total_steps", "resumed"}
    assert first["origin"]["machine"].endswith(f", {os.cpu_count()} cores")
    assert set(first["parameters"]) == {"actor_network", "critic_network"}
    trained = jax.tree.leaves(whole[1].state.critic.params)
    assert first["parameters"]["critic_network"] == sum(leaf[0].size for leaf in trained)


def test_an_agent_of_other_settings_is_told_and_takes_no_run_over(
    agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult], caplog: pytest.LogCaptureFixture
) -> None:
    """It has the same arrays, and so nothing else would tell it."""
    hyperparameters = dataclasses.replace(CONFIG.hyperparameters, gamma=0.5)
    other = build_agent(dataclasses.replace(CONFIG, hyperparameters=hyperparameters))
    assert load_run(whole[0], agent=agent).step and not caplog.messages
    load_run(whole[0], agent=other)
    assert (
        "the agent is not that of run whole: " in caplog.messages[-1]
        and "hyperparameters.gamma 0.99 -> 0.5" in caplog.messages[-1]
    )
    asked: dict[str, Any] = {"seed": 3, "num_seeds": 2, "loggers": [], "evaluation_steps": 128}
    with pytest.raises(ValueError, match=r"agent is not the one that the config of .* describes .*gamma 0.99 -> 0.5"):
        train(other, 4 * STEPS, folder=whole[0], resume=True, **asked)
    # A run from Python goes on with whatever agent it is given, and says so.
    train(agent, STEPS, folder=tmp_path / "run", **asked)
    train(other, 2 * STEPS, folder=tmp_path / "run", resume=True, **asked)
    assert "the agent is not that of run run: " in caplog.messages[-1]
    assert read_record(tmp_path / "run").agent["hyperparameters.gamma"] == 0.5


def test_the_task_and_its_settings_are_part_of_what_an_agent_is() -> None:
    mazes = [
        describe_agent(build_agent(TrainConfig(environment="memory::TMaze", environment_options=options)))
        for options in ({"length": 5}, {"length": 10}, {"length": 5, "time_limit": 3})
    ]
    assert changes(mazes[0], mazes[1]) == ["environment.length 5 -> 10", "environment_params.length 5 -> 10"]
    assert changes(mazes[0], mazes[0]) == changes({}, mazes[0]) == []
    assert "environment.num_steps None -> 3" in changes(mazes[0], mazes[2])


def test_what_is_left_of_another_run_is_not_gone_on_with(agent: Agent, tmp_path: Path) -> None:
    folder, config = tmp_path / "run", dataclasses.replace(CONFIG, total_steps=STEPS)
    run(agent, config, folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds checkpoints of a run whose config.json is gone: choose another"):
        run(agent, dataclasses.replace(config, seed=11), folder)


def test_settings_that_no_file_can_hold_leave_the_folder_free(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config = tmp_path / "run", dataclasses.replace(CONFIG, total_steps=STEPS)
    arguments: dict[str, Any] = {"seed": 3, "num_seeds": 2, "folder": folder, "loggers": [], "evaluation_steps": 128}
    with pytest.raises(ValueError, match=r"^config\['place'\] \(.*\) must be text, a number, a list or a dictionary"):
        train(agent, STEPS, config={"place": tmp_path}, **arguments)
    with monkeypatch.context() as full:
        full.setattr(RunRecord, "write", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(OSError, match="the disk is full"):
            train(agent, STEPS, **arguments)
    trained = train(agent, STEPS, config={"rate": np.float32(0.5), "sizes": (1, jnp.ones(2))}, **arguments)
    assert trained.step == STEPS
    assert json.loads((folder / "config.json").read_text())["config"] == {"rate": 0.5, "sizes": [1, [1.0, 1.0]]}
    assert run(agent, config, folder, resume=True).metrics == []


def test_a_curve_that_cannot_be_drawn_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = dataclasses.replace(CONFIG, environment_options={"time_limit": 10_000}, loggers=("file",))
    _, result = run_config(config, tmp_path / "run", callbacks=[lambda event: True])
    assert result.stopped is not None
    assert any("learning_curve.png is not drawn" in record.getMessage() for record in caplog.records)


def test_a_metric_may_not_be_called_as_a_column_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(self: PPO, *arguments: Any) -> Any:
        state, metrics = _learn(self, *arguments)
        return state, {**metrics, "return": 0.0}

    _learn = PPO._learn
    monkeypatch.setattr(PPO, "_learn", learn)
    with pytest.raises(ValueError, match=r"^metric 'return' of PPO needs another name: it is a column$"):
        train(build_agent(dataclasses.replace(CONFIG, features=6)), STEPS, loggers=[])


def test_rates_that_were_annealed_jump_where_a_run_is_made_longer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = dataclasses.replace(CONFIG, anneal_lr=True, total_steps=STEPS, loggers=("file",))
    run_config(config, tmp_path / "run")
    resume_run(tmp_path / "run", total_steps=2 * STEPS)
    assert any(f"to reach zero at step {STEPS:,}, and now at step" in record.getMessage() for record in caplog.records)


def test_a_folder_has_one_owner_at_a_time(agent: Agent, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = dataclasses.replace(CONFIG, total_steps=STEPS)
    run(agent, config, folder)
    with owned(folder), pytest.raises(ValueError, match=rf"is in use by process {os.getpid()} on .*: wait for it"):
        run(agent, config, folder, resume=True)
    assert run(agent, config, folder, resume=True).metrics == []


def test_other_surroundings_are_told(
    agent: Agent, tmp_path: Path, caplog: pytest.LogCaptureFixture, whole: tuple[Path, TrainingResult]
) -> None:
    folder = tmp_path / "run"
    run(agent, dataclasses.replace(CONFIG, total_steps=2 * STEPS), folder)
    content = json.loads((folder / "config.json").read_text())
    content["origin"]["versions"]["jax"] = "0.1"
    (folder / "config.json").write_text(json.dumps(content))
    assert_same(run(agent, CONFIG, folder, resume=True), whole[1])
    (record,) = caplog.records
    assert f"not bit for bit as it would have: jax 0.1 -> {jax.__version__}" in record.getMessage()
    content["origin"]["random_keys"] = "rbg"
    (folder / "config.json").write_text(json.dumps(content))
    for use in (resume_run, load_run):
        with pytest.raises(ValueError, match=r"random keys \(threefry2x32\) must be .* JAX_DEFAULT_PRNG_IMPL=rbg"):
            use(folder)


def test_a_config_cut_short_is_one_line(tmp_path: Path, whole: tuple[Path, TrainingResult]) -> None:
    (tmp_path / "config.json").write_text((whole[0] / "config.json").read_text()[:100])
    with pytest.raises(ValueError, match=r"config.json is not valid JSON .* mend it, or start the run again"):
        resume_run(tmp_path)


def test_the_agents_of_a_run_by_their_seeds(whole: tuple[Path, TrainingResult]) -> None:
    loaded = load_run(whole[0])
    assert (loaded.config, list(loaded.seeds)) == (CONFIG, [3, 4])
    last = jax.tree.map(lambda x: x[1], whole[1].state)
    arrays, others = to_arrays(loaded.seed(4)), to_arrays(last)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)
    with pytest.raises(ValueError, match=r"seed \(5\) must be one of the run's: 3, 4"):
        loaded.seed(5)


def test_a_replay_buffer_is_resumed_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hyperparameters = DQNConfig(
        num_envs=2, num_steps=4, num_updates=1, learning_starts=40, buffer_size=128, batch_size=4, exploration_steps=64
    )
    config = dataclasses.replace(CONFIG, algorithm="dqn", hyperparameters=hyperparameters, total_steps=8 * STEPS)
    agent = build_agent(config)
    whole = run(agent, config, tmp_path / "whole")
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        run(agent, config, folder, [Recorder(6, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert_same(run(agent, config, folder, resume=True), whole)
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["updates"], row["q_loss"]) for row in rows[:2]] == [("0", "")] * 2, "nothing yet is not NaN"
    assert all(np.isfinite(float(row["q_loss"])) for row in rows[2:])
    assert caplog.records == []
