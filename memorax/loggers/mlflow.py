"""Metrics in an MLflow store: `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memorax.loggers.logger import Logger, Outcome, Row, RunDescription, scalars
from memorax.loggers.packages import import_package

STORE = "mlflow.db"
EXPERIMENT = "memorax"
"""The experiment of runs that have no group."""

RUN_ID = "memorax.run_id"
"""The tag by which a run is found again."""

LARGEST_BATCH = 1000
"""Metrics that MLflow takes at once."""

LONGEST_VALUE = 500
STATUS: Mapping[Outcome, str] = {"completed": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflowLogger(Logger):
    """Logs to an MLflow run in the experiment named after the run's group, with its settings as parameters.

    The store is `MLFLOW_TRACKING_URI`, or else `mlflow.db` beside the run folder, shared by the runs there. A run that
    is resumed goes on with the same run there; steps that it has already are not logged again.
    """

    def __init__(self, folder: str | Path | None) -> None:
        super().__init__(folder)
        self.uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not self.uri:
            if self.folder is None:
                raise ValueError("the mlflow logger needs a folder, or MLFLOW_TRACKING_URI: set one of them")
            self.uri = f"sqlite:///{self.folder.absolute().parent / STORE}"
        if self.uri.startswith(("file:", "/", ".")):
            raise ValueError(
                f"MLFLOW_TRACKING_URI ({self.uri}) must name a database or a server, such as sqlite:///mlflow.db: "
                "MLflow takes no folders any more"
            )
        self._package = import_package("mlflow", "mlflow")
        self._client: Any = None
        self._run = ""
        self._logged = 0

    def start(self, run: RunDescription) -> None:
        """Open the run, or go on with it."""
        self._client = self._package.MlflowClient(self.uri)
        experiment = self._experiment(run.group or EXPERIMENT)
        found = self._client.search_runs([experiment], f"tags.`{RUN_ID}` = '{run.id}'")
        if found:
            self._run = found[0].info.run_id
            self._logged = int(found[0].data.metrics.get("step", 0))
            self._client.update_run(self._run, status="RUNNING")
            return
        tags = {RUN_ID: run.id, **dict.fromkeys(run.tags, "true")}
        self._run = self._client.create_run(experiment, tags=tags, run_name=run.name).info.run_id
        params = [self._package.entities.Param(name, value) for name, value in _flat(run.config)]
        if params:
            self._client.log_batch(self._run, params=params)

    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        """Log the mean of each metric, and the values of the seeds."""
        step, now = int(rows[0]["step"]), int(time.time() * 1000)
        if step <= self._logged:
            return
        values = {**scalars(rows, steps_per_second), "step": float(step)}
        metrics = [self._package.entities.Metric(name, value, now, step) for name, value in values.items()]
        for start in range(0, len(metrics), LARGEST_BATCH):
            self._client.log_batch(self._run, metrics=metrics[start : start + LARGEST_BATCH])
        self._logged = step

    def close(self, outcome: Outcome) -> None:
        """Say how the run ended."""
        if self._run:
            self._client.set_terminated(self._run, STATUS[outcome])

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return self._client.create_experiment(name) if found is None else found.experiment_id


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by their paths, `hyperparameters.gamma`, as short texts."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)[:LONGEST_VALUE]
