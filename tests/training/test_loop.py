from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from memorax.algorithms import DQNConfig
from memorax.evaluation import read_metrics
from memorax.loggers import FileLogger, Logger, Row, RunDescription
from memorax.training import Interrupted, TrainingResult, build_agent, evaluate_run, load_run, run_config, train
from memorax.training.checkpoints import Checkpoints, to_arrays
from memorax.training.folder import open_folder
from memorax.training.loop import Agent
from memorax.training.run import resume_run
from tests.training.small import CONFIG, STEPS, assert_same, metrics_without_time, run


@pytest.fixture(scope="module")
def agent() -> Agent:
    return build_agent(CONFIG)


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
        self.closed = False
        self.statuses: list[str] = []

    def start(self, run: RunDescription) -> None:
        self.run = run

    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        self.rows.extend(rows)
        if self.action is not None and len(self.rows) == self.after:
            self.action()

    def status(self, text: str) -> None:
        self.statuses.append(text)

    def close(self) -> None:
        self.closed = True


def test_a_run_leaves_config_metrics_checkpoints_and_a_picture(whole: tuple[Path, TrainingResult]) -> None:
    folder, result = whole
    assert {path.name for path in folder.iterdir()} == {
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
    assert result.metrics[1]["return"] == pytest.approx(table["return"][-1], nan_ok=True)
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
    assert open_folder(folder)["total_steps"] == 8 * STEPS


def test_evaluation_leaves_training_alone(agent: Agent, whole: tuple[Path, TrainingResult]) -> None:
    recorder = Recorder()
    often = dataclasses.replace(CONFIG, evaluation_interval=STEPS)
    assert_same(run(agent, often, None, [recorder]), whole[1])
    assert not np.isnan([row["evaluation_return"] for row in recorder.rows]).any()
    assert recorder.closed


def test_seeds_train_as_they_do_alone(agent: Agent, whole: tuple[Path, TrainingResult]) -> None:
    recorder = Recorder()
    result = train(agent, 8 * STEPS, seed=4, log_interval=STEPS, evaluation_steps=128, loggers=[recorder])
    alone, together = to_arrays(result.state), to_arrays(whole[1].state)
    for name, array in alone.items():
        np.testing.assert_allclose(array[0], together[name][1], rtol=1e-4, atol=1e-5, err_msg=name)


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
        raise RuntimeError("as sudden as a kill")

    with pytest.raises(RuntimeError, match="sudden"):
        run(agent, CONFIG, folder, [Recorder(2, fail)])
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        load_run(folder)
    assert_same(run(agent, CONFIG, folder, resume=True), whole[1])
    assert len(read_metrics(folder)["step"]) == 16


def test_a_full_disk_stops_the_run_and_it_can_be_resumed(
    agent: Agent, tmp_path: Path, whole: tuple[Path, TrainingResult]
) -> None:
    folder = tmp_path / "run"

    class FullDisk(FileLogger):
        """Every write reaches a device that is always full."""

        def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
            if rows[0]["step"] == 3 * STEPS:
                self.close()
                self._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed by close()
            super().log(rows, steps_per_second)

    with pytest.raises(OSError, match="no space left on the disk for metrics: free some and resume"):
        run(agent, CONFIG, folder, [FullDisk(folder)])
    assert Checkpoints(folder / "checkpoints").steps == [STEPS, 2 * STEPS]
    assert_same(run(agent, CONFIG, folder, resume=True), whole[1])


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
        ({"total_steps": 1, "num_seeds": 0}, r"num_seeds \(0\)"),
        ({"total_steps": 1, "seed": -1}, r"seed \(-1\)"),
        ({"total_steps": 1, "evaluation_steps": 0}, r"evaluation_steps \(0\)"),
        ({"total_steps": 1, "resume": True}, "resume needs the folder"),
        ({"total_steps": 1, "folder": whole[0]}, "holds another run: go on with it by `memorax resume"),
        ({"total_steps": 1, "folder": whole[0] / "config.json"}, "is a file: choose another folder"),
        ({"total_steps": 1, "folder": tmp_path, "resume": True}, "holds no config.json"),
    ):
        with pytest.raises(ValueError, match=message):
            train(agent, **arguments)


def test_an_agent_made_by_hand_is_resumed_from_python(agent: Agent, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    train(agent, 2 * STEPS, folder=folder, evaluation_steps=128, loggers=[FileLogger(folder)])
    with pytest.raises(ValueError, match=r"agent was made in Python: go on with it by `memorax\.training\.train"):
        resume_run(folder)
    result = train(agent, 4 * STEPS, folder=folder, resume=True, evaluation_steps=128, loggers=[FileLogger(folder)])
    assert_same(result, train(agent, 4 * STEPS, log_interval=STEPS, evaluation_steps=128, loggers=[]))
    other = build_agent(dataclasses.replace(CONFIG, features=8))
    with pytest.raises(ValueError, match="was saved by another agent"):
        train(other, 8 * STEPS, folder=folder, resume=True, loggers=[])


def test_a_run_of_another_version_is_not_resumed(tmp_path: Path, whole: tuple[Path, TrainingResult]) -> None:
    text = (whole[0] / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"memorax": "', '"memorax": "9.'))
    with pytest.raises(ValueError, match=r"was written by memorax 9\..*go on with it in a checkout of that version"):
        resume_run(tmp_path)
    (tmp_path / "config.json").write_text(text[:100])
    with pytest.raises(ValueError, match=r"config.json is not valid JSON .* mend it, or start the run again"):
        resume_run(tmp_path)


def test_a_replay_buffer_is_resumed_too(tmp_path: Path) -> None:
    hyperparameters = DQNConfig(
        num_envs=2, num_steps=4, num_updates=1, learning_starts=16, buffer_size=128, batch_size=4, exploration_steps=64
    )
    config = dataclasses.replace(CONFIG, algorithm="dqn", hyperparameters=hyperparameters, total_steps=8 * STEPS)
    agent = build_agent(config)
    whole = run(agent, config, tmp_path / "whole")
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        run(agent, config, folder, [Recorder(6, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert_same(run(agent, config, folder, resume=True), whole)
    assert np.isfinite(read_metrics(folder)["q_loss"]).any()
