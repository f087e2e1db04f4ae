"""Reads the configuration and the metrics of a run folder."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from memorax.loggers.file import METRICS_FILE

CONFIG_FILE = "config.json"


def read_config(folder: str | Path) -> dict[str, Any]:
    """A run's `config.json`: `memorax`, the version that wrote it, and `config`, the settings.

    Raises:
        ValueError: if there is none or it cannot be read.
    """
    path = Path(folder) / CONFIG_FILE
    if not Path(folder).is_dir():
        what = "is a file" if Path(folder).exists() else "does not exist"
        raise ValueError(f"{folder} {what}: name the folder of a run")
    if not path.is_file():
        inside = [each for each in sorted(Path(folder).iterdir()) if (each / CONFIG_FILE).is_file()]
        remedy = f"name one of its {len(inside)} runs, such as {inside[0]}" if inside else "name the folder of a run"
        raise ValueError(f"{folder} holds no {CONFIG_FILE}: {remedy}")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty: the run was killed as it began. Remove {folder}, and start it again")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): mend it, or start the run again") from error
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise ValueError(f"{path} was not written by memorax: it lacks the settings under 'config'")
    return content


def read_metrics(folder: str | Path) -> dict[str, np.ndarray]:
    """The columns of a run's `metrics.csv`, float64: NaN where a field is empty, and where a value was NaN.

    Raises:
        ValueError: if there are none.
    """
    return {
        name: np.array([float(text) if text else np.nan for text in column])
        for name, column in _read_columns(Path(folder)).items()
    }


def has_metrics(folder: str | Path) -> bool:
    """Whether a run has logged a line of metrics."""
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        file.readline()
        return file.readline().endswith(b"\n")


def read_logged(folder: str | Path, metric: str) -> np.ndarray:
    """Whether each row of a run's `metrics.csv` has a value of a metric, bool; a value that was NaN is one.

    Raises:
        ValueError: if there are no metrics, or not this one.
    """
    columns = _read_columns(Path(folder))
    if metric not in columns:
        raise ValueError(f"{folder} has no metric {metric!r}: choose from {', '.join(columns)}")
    return np.array([bool(text) for text in columns[metric]])


def _read_columns(folder: Path) -> dict[str, tuple[str, ...]]:
    """The columns of a run's `metrics.csv` as text."""
    path = folder / METRICS_FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no {METRICS_FILE}: name the folder of a run")
    # A killed run, or a full disk, may have left half a line, and in it half a number.
    text = path.read_bytes().decode()
    columns, *rows = [*csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))] or [[]]
    rows = [row for row in rows if len(row) == len(columns)]
    if not rows:
        raise ValueError(f"{path} holds no metrics yet: let the run reach its first line")
    return dict(zip(columns, zip(*rows, strict=True), strict=True))
