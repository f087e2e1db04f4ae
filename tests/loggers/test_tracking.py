"""Loggers of other packages: what they are told, and what they make of a run that is resumed."""

from __future__ import annotations

import importlib
import math
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from memorax.loggers import LOGGERS, RunDescription, make_loggers
from memorax.loggers.logger import scalars

CONFIG = {"environment": "popgym::RepeatPreviousEasy", "hyperparameters": {"gamma": 0.9}, "torso_options": {}}


def describe(step: int) -> RunDescription:
    columns = ("seed", "step", "seconds", "return")
    return RunDescription("a1b2c3d4", "mine", columns, step, 40, 2, group="ours", tags=("small",), config=CONFIG)


def rows(step: int) -> list[dict[str, float | int]]:
    first = {"seed": 3, "step": step, "seconds": 0.1, "return": float(step)}
    return [first, {"seed": 4, "step": step, "seconds": 0.3}]


def write(name: str, folder: Path, start: int, *steps: int, outcome: Any = "completed") -> Any:
    (logger,) = make_loggers([name], folder)
    logger.start(describe(start))
    for step in steps:
        logger.log(rows(step), 100.0)
    logger.close(outcome)
    return logger


def test_one_value_for_each_name() -> None:
    assert scalars(rows(10), math.nan) == {
        "return": 10.0,
        "return/seed_3": 10.0,
        "seconds": pytest.approx(0.2),
        "seconds/seed_3": 0.1,
        "seconds/seed_4": 0.3,
    }
    assert scalars(rows(10)[:1], 5.0) == {"return": 10.0, "seconds": 0.1, "steps_per_second": 5.0}


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_one_line(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"the {name} logger needs the package '{package}': pip .*\[{name}\]"):
        make_loggers([name], tmp_path)


def test_what_a_logger_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="the tensorboard logger needs a folder"):
        make_loggers(["tensorboard"], None)
    with pytest.raises(ValueError, match="the mlflow logger needs a folder, or MLFLOW_TRACKING_URI"):
        make_loggers(["mlflow"], None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///tmp/runs")
    with pytest.raises(ValueError, match=r"MLFLOW_TRACKING_URI \(file:///tmp/runs\) must name a database or a server"):
        make_loggers(["mlflow"], tmp_path)


@pytest.fixture
def package(request: pytest.FixtureRequest) -> Any:
    """A package, where it is installed."""
    with warnings.catch_warnings():
        # They warn of what they import.
        warnings.simplefilter("ignore")
        return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


# TensorBoard ------------------------------------------------------------------------------------------------------


def events(folder: Path) -> Iterator[Any]:
    """What the event files hold, in order; each record is its length, a checksum, itself and a checksum."""
    proto = importlib.import_module("tensorboardX.proto.event_pb2")
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield proto.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


@pytest.mark.parametrize("package", ["tensorboardX"], indirect=True)
def test_tensorboard_has_every_step_once(package: Any, tmp_path: Path) -> None:
    write("tensorboard", tmp_path, 0, 10, 20)
    write("tensorboard", tmp_path, 10, 20, 30)
    shown: dict[str, dict[int, float]] = {}
    texts = []
    for event in events(tmp_path / "tensorboard"):
        if event.session_log.status == event.session_log.START:
            # As TensorBoard does: what comes from here on takes the place of what came before.
            shown = {
                name: {step: value for step, value in values.items() if step < event.step}
                for name, values in shown.items()
            }
        for value in event.summary.value:
            if value.HasField("simple_value"):
                assert event.step not in shown.setdefault(value.tag, {})
                shown[value.tag][event.step] = value.simple_value
            else:
                texts.append(value.tensor.string_val[0].decode())
    assert shown["return"] == shown["return/seed_3"] == {10: 10.0, 20: 20.0, 30: 30.0}
    assert set(shown["steps_per_second"].values()) == {100.0}
    (text,) = texts
    for fact in ('"group": "ours"', '"small"', '"gamma": 0.9', '"name": "mine"'):
        assert fact in text


# Weights & Biases -------------------------------------------------------------------------------------------------


class FakeWandb(ModuleType):
    """Takes the calls and keeps a history, as the package does."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.started: list[dict[str, Any]] = []
        self.history: list[tuple[int, dict[str, float]]] = []
        self.codes: list[int] = []
        self.Settings = lambda console: f"console {console}"

    def init(self, **settings: Any) -> Any:
        self.started.append(settings)
        return self

    @property
    def step(self) -> int:
        return self.history[-1][0] + 1 if self.history else 0

    def log(self, values: dict[str, float], step: int) -> None:
        assert step >= self.step
        self.history.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)


def test_wandb_goes_on_with_the_run_of_the_same_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    write("wandb", tmp_path, 0, 10, 20, outcome="interrupted")
    write("wandb", tmp_path, 10, 20, 30)
    assert fake.started == 2 * [
        {
            **{"project": "theirs", "id": "a1b2c3d4", "name": "mine", "group": "ours", "tags": ["small"]},
            **{"config": CONFIG, "dir": str(tmp_path), "resume": "allow", "settings": "console off"},
        }
    ]
    assert [step for step, _ in fake.history] == [10, 20, 30]
    assert fake.history[0][1] == scalars(rows(10), 100.0)
    assert fake.codes == [1, 0]


@pytest.mark.parametrize("package", ["wandb"], indirect=True)
def test_wandb_takes_a_run_offline(package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    write("wandb", tmp_path, 0, 10, 20)
    (file,) = tmp_path.glob("wandb/offline-run-*-a1b2c3d4/run-a1b2c3d4.wandb")
    package.teardown()  # it writes in a process of its own
    content = file.read_bytes()
    assert all(fact in content for fact in (b"ours", b"small", b"RepeatPreviousEasy", b"return/seed_3"))


# MLflow -----------------------------------------------------------------------------------------------------------


class FakeMlflow(ModuleType):
    """A store with one experiment and one run."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.entities = SimpleNamespace(
            Param=lambda key, value: (key, value), Metric=lambda key, value, time, step: (key, value, step)
        )
        self.experiments: dict[str, str] = {}
        self.run: Any = None
        self.params: dict[str, str] = {}
        self.metrics: list[tuple[str, float, int]] = []
        self.statuses: list[str] = []

    def MlflowClient(self, uri: str) -> Any:
        self.uri = uri
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, "7")

    def search_runs(self, experiments: list[str], wanted: str) -> list[Any]:
        assert (experiments, wanted) == (["7"], "tags.`memorax.run_id` = 'a1b2c3d4'")
        return [] if self.run is None else [self.run]

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        assert (experiment, run_name) == ("7", "mine")
        assert tags == {"memorax.run_id": "a1b2c3d4", "small": "true"}
        self.run = SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(metrics={}))
        return self.run

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        assert run == "r"
        assert len(metrics) <= 1000
        self.params |= dict(params)
        self.metrics.extend(metrics)
        self.run.data.metrics.update({key: value for key, value, _ in metrics})

    def update_run(self, run: str, status: str) -> None:
        self.statuses.append(status)

    def set_terminated(self, run: str, status: str) -> None:
        self.statuses.append(status)


def test_mlflow_goes_on_with_the_run_of_the_same_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write("mlflow", tmp_path / "run", 0, 10, 20, outcome="interrupted")
    write("mlflow", tmp_path / "run", 10, 20, 30)
    assert fake.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert fake.params == {
        **{"environment": "popgym::RepeatPreviousEasy", "hyperparameters.gamma": "0.9", "torso_options": "{}"},
    }
    assert [(value, step) for name, value, step in fake.metrics if name == "return"] == [
        (10.0, 10),
        (20.0, 20),
        (30.0, 30),
    ]
    assert fake.statuses == ["KILLED", "RUNNING", "FINISHED"]
    assert list(fake.experiments) == ["ours"]


@pytest.mark.parametrize("package", ["mlflow"], indirect=True)
def test_mlflow_keeps_a_run_in_a_database(package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write("mlflow", tmp_path / "run", 0, 10, 20, outcome="interrupted")
        write("mlflow", tmp_path / "run", 10, 20, 30)
        client = package.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
        (run,) = client.search_runs([client.get_experiment_by_name("ours").experiment_id])
        history = client.get_metric_history(run.info.run_id, "return")
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert run.data.params["hyperparameters.gamma"] == "0.9"
    assert [(metric.value, metric.step) for metric in history] == [(10.0, 10), (20.0, 20), (30.0, 30)]


def test_each_logger_is_explained() -> None:
    assert all((member.__doc__ or "").partition("\n")[0].endswith(".") for member in LOGGERS.values())
