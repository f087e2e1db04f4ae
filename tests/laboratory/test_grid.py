"""Grids: what a file declares, and that all of it is trained through failures, kills and interruptions."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from memorax.algorithms import PPOConfig
from memorax.cli import main
from memorax.evaluation import read_metrics
from memorax.laboratory import Grid, Setting, read_grid, read_outcome, run_grid
from memorax.laboratory.executors import Executor, Job, JobHandle, make_executor
from memorax.laboratory.executors.local import LocalExecutor, share_cores
from memorax.laboratory.grid import make_grid
from memorax.laboratory.job import train_job
from memorax.laboratory.matching import match_width
from memorax.laboratory.outcome import Outcome, steps_taken
from memorax.laboratory.scheduler import Progress, predict_seconds
from memorax.training import TrainConfig, build_agent
from tests.training.small import CONFIG, metrics_without_time

YAML = """
name: memories
defaults: {environment: memory::TMaze, num_envs: 4, total_steps: 1e5, anneal_lr: true}
num_seeds: 3
grid:
  algorithm: [ppo, {algorithm: r2d2, burn_in: 8}]
  torso: [mlp, gru]
  learning_rate: [1e-3]
"""

SMALL = dataclasses.replace(CONFIG, environment="memory::TMaze", torso="mlp", num_seeds=1, total_steps=64)


class Ended(JobHandle):
    """A job that has ended, as soon as it was submitted."""

    def ended(self) -> bool:
        return True

    def stop(self) -> None: ...

    def describe_end(self) -> str:
        return "ended"


class InThisProcess(Executor):
    """Trains runs at once, or does something else in their place."""

    workers = 1

    def __init__(self, train=train_job) -> None:
        self.train = train
        self.trained: list[str] = []

    def submit(self, job: Job) -> JobHandle:
        self.trained.append(job.folder.name)
        try:
            self.train(job)
        except Exception:
            assert (job.folder / "failure.txt").exists()
        return Ended()


def grid_of(**configs: TrainConfig) -> Grid:
    return Grid("small", tuple(Setting(name, config) for name, config in configs.items()))


def test_a_file_declares_every_combination(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(YAML)
    grid = read_grid(tmp_path / "grid.yaml")
    names = [setting.name for setting in grid.settings]
    assert names == [
        "ppo-mlp-learning_rate=0.001",
        "ppo-gru-learning_rate=0.001",
        "r2d2-burn_in=8-mlp-learning_rate=0.001",
        "r2d2-burn_in=8-gru-learning_rate=0.001",
    ]
    assert grid.settings[1].config == TrainConfig(
        environment="memory::TMaze",
        hyperparameters=PPOConfig(num_envs=4),
        torso="gru",
        total_steps=100_000,
        num_seeds=3,
        learning_rate=1e-3,
        anneal_lr=True,
        loggers=("file",),
        group="memories",
    )
    assert grid.settings[2].config.hyperparameters.burn_in == 8
    (tmp_path / "grid.py").write_text("def GRID():\n    return {'grid': {'torso_options': [{'depth': 2}]}}\n")
    (setting,) = read_grid(tmp_path / "grid.py").settings
    assert setting.config.torso_options == {"depth": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "must hold a mapping with the keys name, defaults"),
        ("axes: {}", "unknown key 'axes'"),
        ("grid: {torso: gru}", r"axis torso of .* \('gru'\) must be a list of values, such as \[gru\]"),
        ("grid: {trso: [gru]}", "unknown setting 'trso': did you mean 'torso'"),
        ("grid: {num_minibatches: [8], algorithm: [sac]}", "nor a hyperparameter of sac"),
        ("grid: {torso: [gru, gru]}", "has the setting gru twice"),
        ("grid: {torso: [gruu]}", "unknown torso 'gruu'"),
        ("grid: {", "is neither JSON nor YAML"),
        ("{num_seeds: 2, defaults: {num_seeds: 3}}", "sets num_seeds twice, by itself and in defaults"),
        ("defaults: {gamma: 0.5, hyperparameters.gamma: 0.7}", "sets the hyperparameter gamma twice"),
        ("defaults: {gamma: 0.5, hyperparameters: {gamma: 0.7}}", "sets the hyperparameter gamma twice"),
        ("grid: {x: [{gamma: 0.5, hyperparameters: {gamma: 0.7}}]}", "sets the hyperparameter gamma twice"),
        (
            "{num_seeds: 3, grid: {seed: [0, 3, 4]}}",
            r"seed \(4\) of seed=4 is trained in seed=3 too, whose num_seeds \(3\) begin at 3: leave the axis out",
        ),
        ("grid: {x: [{name: '..', torso: gru}]}", r"name \(\.\.\) of .* must be one that a new folder can have"),
        ("grid: {x: [{name: '.', torso: gru}]}", r"name \(\.\) of .* must be one that a new folder can have"),
        ("name: ../x", r"name \(\.\./x\) of .* must be one that a new folder can have"),
        ("grid: {1: [gru]}", "axis 1 of .* must be the name of a setting"),
        ("grid: {algorithm: [5]}", r"algorithm \(5\) must be text"),
        ("grid: {hyperparameters: [1]}", r"hyperparameters \(1\) must be settings by name"),
        ("defaults: {hyperparameters: [1]}", r"hyperparameters \(\[1\]\) must be settings by name"),
        ("defaults: {imports: json}", r"imports \('json'\) must be a list of texts"),
    ],
)
def test_a_wrong_grid_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "grid.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_grid(tmp_path / "grid.yaml")


def test_an_axis_changes_what_it_names_and_leaves_the_rest() -> None:
    def configs(defaults: dict[str, object], grid: dict[str, list[object]]) -> list[TrainConfig]:
        return [setting.config for setting in make_grid({"defaults": defaults, "grid": grid}, "here", "x").settings]

    shared = {"torso": "attention", "torso_options": {"num_heads": 2, "context_length": 4}}
    (config,) = configs(shared, {"torso_options": [{"context_length": 8}]})
    assert config.torso_options == {"num_heads": 2, "context_length": 8}
    (config,) = configs({"torso_options": {"depth": 2}}, {"torso": ["gru"], "torso_options": [{}]})
    assert config.torso_options == {"depth": 2}, "gru is the default"
    # Options of another torso are not those of the one in the defaults.
    (config,) = configs(shared, {"x": [{"torso": "gru", "torso_options": {"depth": 2}}]})
    assert config.torso_options == {"depth": 2}
    for defaults, axis in (
        ({"gamma": 0.7}, {"hyperparameters": [{"gamma": 0.1}]}),
        ({"gamma": 0.7}, {"x": [{"name": "low", "hyperparameters": {"gamma": 0.1}}]}),
        ({"hyperparameters": {"gamma": 0.7}}, {"hyperparameters.gamma": [0.1]}),
    ):
        (config,) = configs(defaults, axis)
        assert config.hyperparameters == PPOConfig(gamma=0.1)


@pytest.mark.parametrize(("name", "number", "every"), [("memories", 60, 10), ("published", 7, 1)])
def test_the_grids_of_benchmarks_are_valid(name: str, number: int, every: int) -> None:
    grid = read_grid(Path(__file__).parent.parent.parent / "benchmarks" / f"{name}.yaml")
    assert (grid.name, len(grid.settings)) == (name, number)
    for setting in grid.settings[::every]:
        build_agent(setting.config)


def test_options_are_part_of_the_name_of_a_folder() -> None:
    points = [{"environment": "memory::TMaze", "environment_options": options} for options in ({}, {"length": 20})]
    grid = make_grid({"grid": {"environment": points, "torso": ["gru"]}}, "here", "name")
    assert [setting.name for setting in grid.settings] == ["memory-TMaze-gru", "memory-TMaze-length=20-gru"]


def test_settings_that_go_together_may_have_a_name() -> None:
    points = [{"name": "a short one", "torso": "lru", "features": 128}, {"torso": "gru", "total_steps": 5e4}]
    grid = make_grid({"name": "all", "grid": {"setting": points}}, "here", "name")
    assert [setting.name for setting in grid.settings] == ["a-short-one", "gru-total_steps=50000"]
    assert [setting.config.features for setting in grid.settings] == [128, TrainConfig.features]
    assert grid.name == "all"


def test_names_of_folders_stay_short() -> None:
    point = {f"option_{i}": i for i in range(30)}
    grid = make_grid({"grid": {"environment_options": [point, {**point, "option_0": 1}]}}, "here", "name")
    first, second = (setting.name for setting in grid.settings)
    assert first != second
    assert len(first) == 150


def test_failures_are_listed_and_what_is_complete_is_skipped(tmp_path: Path) -> None:
    grid = grid_of(bad=dataclasses.replace(SMALL, environment="memory::Nowhere"), good=SMALL)
    told: list[Progress] = []
    executor = InThisProcess()
    report = run_grid(grid, tmp_path, executor, told.append)
    assert [setting.name for setting in report.completed] == ["good"]
    ((setting, message),) = report.failed
    assert (setting.name, message.partition(":")[0]) == ("bad", "unknown environment 'memory")
    assert "Nowhere" in (tmp_path / "bad" / "failure.txt").read_text()
    assert read_metrics(tmp_path / "good")["step"][-1] == 64 == steps_taken(tmp_path / "good")
    assert (told[-1].complete, told[-1].failed, told[-1].running, told[-1].total) == (1, 1, 0, 2)

    report = run_grid(grid, tmp_path, executor)
    assert executor.trained == ["bad", "good", "bad"]
    assert [setting.name for setting in report.skipped] == ["good"]

    longer = grid_of(good=dataclasses.replace(SMALL, total_steps=96))
    asked: list[int] = []
    run_grid(longer, tmp_path, InThisProcess(lambda job: asked.append(job.settings["total_steps"])))
    assert set(asked) == {96}, "it is complete for 64 steps, not for more"
    other = grid_of(good=dataclasses.replace(SMALL, learning_rate=0.1))
    with pytest.raises(ValueError, match=r"other settings than good of the grid: learning_rate was None and is 0\.1"):
        run_grid(other, tmp_path, executor)


def test_a_killed_worker_is_tried_once_more(tmp_path: Path) -> None:
    deaths = {"unlucky": 1, "doomed": 9}

    def train(job: Job) -> None:
        deaths[job.folder.name] -= 1
        status = "running" if deaths[job.folder.name] >= 0 else "completed"
        Outcome(status, 64).write(job.folder)

    executor = InThisProcess(train)
    report = run_grid(grid_of(unlucky=SMALL, doomed=SMALL), tmp_path, executor)
    assert executor.trained == ["unlucky", "unlucky", "doomed", "doomed"]
    assert [setting.name for setting in report.completed] == ["unlucky"]
    assert [message for _, message in report.failed] == ["its worker ended, 2 times; the same command goes on with it"]


def test_an_error_before_training_is_told_as_it_is(tmp_path: Path) -> None:
    """One that only the worker finds, such as a module that is not there."""

    def train(job: Job) -> None:
        train_job(dataclasses.replace(job, settings={**job.settings, "torso": "nowhere:torso"}))

    ((_, message),) = run_grid(grid_of(a=SMALL), tmp_path, InThisProcess(train)).failed
    assert "nowhere" in message and "worker" not in message


def test_workers_find_modules_beside_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    (tmp_path / "beside_a_grid.py").write_text("VALUE = 7")
    (tmp_path / "grid.py").write_text("import beside_a_grid\nGRID = {'grid': {'features': [beside_a_grid.VALUE]}}")
    assert read_grid(tmp_path / "grid.py").settings[0].config.features == 7
    program = "import beside_a_grid; print(beside_a_grid.VALUE)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "7\n"
    assert os.environ["PYTHONPATH"].endswith(f"{os.pathsep}elsewhere")


def test_cores_are_shared_out() -> None:
    assert share_cores([0, 1, 2, 3], 2) == [[0, 2], [1, 3]]
    assert share_cores([4, 6], 3) == [[4], [6], [4]]


def test_wrong_executors_are_refused() -> None:
    for name, workers, options, message in [
        ("lokal", None, {}, "unknown executor 'lokal': did you mean 'local'"),
        ("local", 0, {}, r"workers \(0\) must be at least 1"),
        ("slurm", 1, {"cluster": "local", "partition": "gpu"}, "executor-options of slurm: .*partition"),
        ("local", 1, {"cpus": 3}, "executor local has no options: leave cpus out"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_executor(name, workers, options)


def test_widths_are_found_by_their_counts() -> None:
    assert match_width(lambda width: 10 * width, 640, 64) == (64, 640)
    assert match_width(lambda width: width * width, 5000, 64) == (72, 5184)
    assert match_width(lambda width: None if width % 6 else 100 * width, 600, 64) == (6, 600)
    with pytest.raises(
        ValueError, match=r"cannot have 10 parameters within 10%: the nearest is 1,000, with features 1"
    ):
        match_width(lambda width: 1000 * width, 10, 64)


def test_a_width_is_found_by_few_counts() -> None:
    """A count builds all networks of an agent."""
    counted: list[int] = []

    def count(width: int) -> int:
        counted.append(width)
        return 6 * width * width + 500 * width

    width, number = match_width(count, 200_000, 32)
    assert abs(number - 200_000) <= 20_000 and width % 8 == 0
    assert len(counted) <= 4


def test_the_command_shows_the_widths_at_which_torsos_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grid.yaml").write_text(
        "defaults: {environment: memory::TMaze, features: 16}\ngrid: {torso: [gru, mlp], learning_rate: [1e-3, 1e-4]}"
    )
    assert main(["benchmark", str(tmp_path / "grid.yaml"), "--match-parameters", "--dry-run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    gru, mlp = (int(lines[row][-1].replace(",", "")) for row in (0, 2))
    assert abs(mlp - gru) <= 0.1 * gru
    assert int(lines[2][2]) > int(lines[0][2]) == 16
    assert main(["benchmark", str(tmp_path / "nowhere.yaml")]) == 2
    assert "is no file: name a YAML or Python file" in capsys.readouterr().err


def test_a_run_is_trained_in_a_process(tmp_path: Path) -> None:
    report = run_grid(grid_of(good=SMALL), tmp_path, LocalExecutor(1))
    assert not report.failed
    assert read_outcome(tmp_path / "good") == Outcome("completed", 64)


def test_the_process_of_a_run_says_how_it_was_killed(tmp_path: Path) -> None:
    handle = LocalExecutor(1).submit(Job(tmp_path / "run", {}))
    handle.process.kill()
    while not handle.ended():
        time.sleep(0.01)
    assert handle.describe_end() == "ended by SIGKILL"


@pytest.mark.slow
def test_submitit_trains_a_run(tmp_path: Path) -> None:
    executor = make_executor("slurm", 1, {"cluster": "local", "timeout_min": 10})
    report = run_grid(grid_of(good=SMALL), tmp_path, executor)
    assert (report.failed, read_outcome(tmp_path / "good")) == ([], Outcome("completed", 64))


def test_slurm_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="executor slurm needs the command srun, which is not here"):
        make_executor("slurm")


@pytest.mark.slow
def test_a_grid_survives_the_kill_of_a_worker_and_an_interruption(tmp_path: Path) -> None:
    """The runs equal those of a grid that nobody disturbed."""
    defaults = "environment: memory::TMaze, num_envs: 4, num_steps: 16, total_steps: 8_000, checkpoint_seconds: 0.5"
    (tmp_path / "grid.yaml").write_text(
        f"defaults: {{{defaults}, log_interval: 640}}\nnum_seeds: 2\ngrid: {{torso: [mlp, gru, lru]}}"
    )

    def start(name: str) -> subprocess.Popen[bytes]:
        arguments = ["benchmark", str(tmp_path / "grid.yaml"), "--folder", str(tmp_path / name), "--workers", "2"]
        return subprocess.Popen([sys.executable, "-m", "memorax", *arguments], stdout=subprocess.PIPE)

    def wait_for(condition) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    whole = start("whole")
    whole.communicate()
    assert whole.returncode == 0
    killed = start("killed")
    wait_for(lambda: steps_taken(tmp_path / "killed" / "mlp") > 640)
    owner = (tmp_path / "killed" / "mlp" / ".lock").read_text().split()[1]
    os.kill(int(owner), signal.SIGKILL)
    wait_for(lambda: steps_taken(tmp_path / "killed" / "lru") > 640)
    killed.send_signal(signal.SIGINT)
    output, _ = killed.communicate()
    assert killed.returncode == 130
    assert b"its worker ended by SIGKILL, tried again: mlp" in output
    again = start("killed")
    output, _ = again.communicate()
    assert again.returncode == 0
    assert b"3 of 3 complete" in output
    for torso in ("mlp", "gru", "lru"):
        one, other = (metrics_without_time(tmp_path / name / torso) for name in ("whole", "killed"))
        for name, column in one.items():
            np.testing.assert_array_equal(column, other[name], err_msg=f"{torso}: {name}")


def test_the_time_left_tells_apart_what_all_settings_share_and_what_their_steps_take() -> None:
    assert predict_seconds([(100, 40.0), (300, 60.0)], [0, 100, 1000]) == pytest.approx([30.0, 40.0, 130.0])
    assert predict_seconds([(100, 40.0), (100, 50.0)], [100, 1000]) == [45.0, 45.0], "nothing tells them apart yet"
    # Longer settings that were trained faster say nothing about steps.
    assert predict_seconds([(100, 50.0), (300, 40.0)], [1000]) == pytest.approx([45.0])
