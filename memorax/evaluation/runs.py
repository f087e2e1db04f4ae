"""Reads the configuration and the metrics of a run folder."""

from __future__ import annotations

import csv
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
    if not path.is_file():
        raise ValueError(f"{folder} holds no {CONFIG_FILE}: name the folder of a run")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): mend it, or start the run again") from error
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise ValueError(f"{path} was not written by memorax: it lacks the settings under 'config'")
    return content


def read_metrics(folder: str | Path) -> dict[str, np.ndarray]:
    """The columns of a run's `metrics.csv`, float64, NaN where a field is empty.

    Raises:
        ValueError: if there are none.
    """
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no {METRICS_FILE}: name the folder of a run")
    with open(path, newline="") as file:
        reader = csv.reader(file)
        columns = next(reader, [])
        # A killed run may have left half a line.
        rows = [row for row in reader if len(row) == len(columns)]
    if not rows:
        raise ValueError(f"{path} holds no metrics yet: let the run reach its first line")
    return {
        name: np.array([float(value) if value else np.nan for value in values])
        for name, values in zip(columns, zip(*rows, strict=True), strict=True)
    }
