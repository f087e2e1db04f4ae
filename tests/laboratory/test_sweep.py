"""Sweeps: what is searched, and that the search survives its workers."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memorax.algorithms import DQNConfig, PPOConfig
from memorax.cli import main
from memorax.cli.train import parse
from memorax.laboratory.command_line import command_line
from memorax.laboratory.search_space import USUAL, Choice, Range, search_space, with_values
from memorax.laboratory.sweep import (
    Reporter,
    Sweep,
    count_trials,
    give_up_lost,
    open_study,
    read_sweep,
    report,
    was_given_up,
    work,
)
from memorax.training import Event, TrainConfig
from tests.training.small import CONFIG

SMALL = dataclasses.replace(
    CONFIG, environment="memory::TMaze", torso="mlp", num_seeds=1, total_steps=64, evaluation_interval=32
)


def test_the_space_is_read_from_words_and_from_the_config() -> None:
    words = ["learning-rate", "gamma=0.9..0.99", "vf_coef", "num_envs=2,4", "ent_coef=log:1e-4..1e-1", "anneal_lr"]
    assert search_space(SMALL, words) == {
        "learning_rate": USUAL["learning_rate"],
        "gamma": Range(0.9, 0.99),
        "vf_coef": Range(0.05, 1.0, log=True),
        "num_envs": Choice((2, 4)),
        "ent_coef": Range(1e-4, 1e-1, log=True),
        "anneal_lr": Choice((False, True)),
    }
    assert list(search_space(SMALL)) == ["learning_rate", "ent_coef", "gamma", "gae_lambda"]
    config = with_values(SMALL, {"gamma": 0.5, "learning_rate": 1e-4})
    assert (config.hyperparameters.gamma, config.learning_rate) == (0.5, 1e-4)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gama=0..1", "unknown setting 'gama': did you mean 'gamma'"),
        ("gamma=1..0", "must be NAME=LOW..HIGH with LOW < HIGH"),
        ("ent_coef=log:0..1", "with 0 < LOW < HIGH"),
        ("tags", "search needs values for tags, such as"),
    ],
)
def test_a_wrong_space_is_refused(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_space(SMALL, [word])


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        TrainConfig(
            algorithm="dqn",
            hyperparameters=DQNConfig(tau=0.5),
            torso_options={"depth": 2},
            tags=("a", "two words"),
            anneal_lr=True,
        ),
        TrainConfig(hyperparameters=PPOConfig(normalize_advantage=False), learning_rate=1.5e-5),
    ],
    ids=["small", "dqn", "switch"],
)
def test_the_command_line_gives_the_config(config: TrainConfig) -> None:
    import shlex

    _, _, *words = shlex.split(command_line(config))
    assert parse(words).config == config


def test_trials_are_trained_and_those_of_lost_workers_are_tried_again(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep", SMALL, ("learning_rate", "num_minibatches=2,3"), trials=3)
    sweep.write()
    assert read_sweep(sweep.folder) == sweep
    with pytest.raises(ValueError, match="holds another sweep, whose search differs: choose another folder"):
        dataclasses.replace(sweep, search=("gamma",)).write()
    study = open_study(sweep)
    study.enqueue_trial({"learning_rate": 1e-3, "num_minibatches": 2})
    lost = study.ask()
    values = (
        lost.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
        lost.suggest_categorical("num_minibatches", (2, 3)),
    )
    process = subprocess.Popen(["true"])
    process.wait()
    lost.set_user_attr("process", f"{os.uname().nodename}:{process.pid}")
    assert (give_up_lost(study), give_up_lost(study), count_trials(study)) == (1, 0, 0)
    study.enqueue_trial({"learning_rate": 1e-3, "num_minibatches": 3})
    work(dataclasses.replace(sweep, trials=2))
    killed, again, wrong = study.get_trials()
    assert [was_given_up(trial) for trial in (killed, again, wrong)] == [True, False, False]
    assert (again.state.name, tuple(again.params.values())) == ("COMPLETE", values)
    assert list(again.intermediate_values) == [32, 64]
    assert wrong.user_attrs["error"].startswith("ValueError: the number of sequences in a rollout (32) must be")
    text = report(sweep, study)
    assert "1 trials complete, 0 ended early, 1 failed." in text
    assert "--learning-rate 0.001" in text


def test_wrong_sweeps_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("environment: memory::TMaze")
    for words, message in (
        (["--trials", "0"], "trials (0) must be at least 1"),
        (["--workers", "0"], "workers (0) must be at least 1"),
        (["--search", "lr=1..2"], "search has an unknown setting 'lr'"),
    ):
        assert main(["sweep", str(tmp_path / "mine.yaml"), "--folder", str(tmp_path / "sweep"), *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_thirty_trials_survive_the_kill_of_a_worker(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "{environment: memory::TMaze, torso: mlp, features: 8, total_steps: 512, evaluation_interval: 128, "
        "evaluation_steps: 128, hyperparameters: {num_envs: 4, num_steps: 16, num_minibatches: 2, update_epochs: 1}}"
    )
    arguments = [str(tmp_path / "mine.yaml"), "--folder", str(tmp_path / "sweep"), "--workers", "2"]
    sweep = subprocess.Popen([sys.executable, "-m", "memorax", "sweep", *arguments], stdout=subprocess.PIPE, text=True)
    folder = tmp_path / "sweep" / "trial-0003"
    while not (folder / ".lock").exists() or not (folder / ".lock").read_text():
        assert sweep.poll() is None
        time.sleep(0.01)
    os.kill(int((folder / ".lock").read_text().split()[1]), signal.SIGKILL)
    output, _ = sweep.communicate(timeout=1800)
    assert sweep.returncode == 0
    assert "ended with code -9: 1 trial(s) again" in output
    assert "30 of 30 trials" in output
    assert "memorax train --environment memory::TMaze" in output


def test_sweeps_of_one_name_in_one_database_are_told_apart(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    first = Sweep(tmp_path / "a" / "mine", SMALL, ("gamma",), storage=storage)
    for sweep in (first, first):
        open_study(sweep)
    for other, part in (
        (dataclasses.replace(first, search=("learning_rate",)), "search"),
        (dataclasses.replace(first, config=dataclasses.replace(SMALL, torso="gru")), "config"),
    ):
        with pytest.raises(ValueError, match=rf"holds a sweep 'mine', whose {part} differs: choose another folder"):
            open_study(dataclasses.replace(other, folder=tmp_path / "b" / "mine"))
    opened = Path("/proc/self/fd")  # where the system is Linux
    names = [os.readlink(link) for link in opened.iterdir() if link.is_symlink()] if opened.exists() else []
    assert not [name for name in names if name.endswith("studies.db")], "a connection stays open"


def test_a_trial_whose_last_evaluation_is_not_finite_fails() -> None:
    class Trial:
        def report(self, value: float, step: int) -> None: ...

        def should_prune(self) -> bool:
            return False

    reporter = Reporter(Trial())
    event = Event(32, [{"evaluation_return": 0.9}], None, None, lambda: None)  # type: ignore[arg-type]
    assert not reporter(event) and reporter.last == 0.9
    with pytest.raises(ValueError, match=r"the evaluation at step 64 has no finite return: \[nan\]"):
        reporter(dataclasses.replace(event, step=64, rows=[{"evaluation_return": float("nan")}]))
