"""Reads the configuration and the metrics of a run folder."""

from __future__ import annotations

import csv
import io
import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memorax.loggers.file import METRICS_FILE

CONFIG_FILE = "config.json"

WHOLE_COLUMNS = ("seed", "step")
"""The columns that say what a row is of: every row has a whole number in them."""


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
        ValueError: if there are none, a field is no number, or the steps of a seed do not increase.
    """
    rows = _read_rows(Path(folder))
    table = {name: _numbers(rows, name) for name in rows.columns}
    _check_steps_increase(rows, table)
    return table


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
    rows = _read_rows(Path(folder))
    if metric not in rows.columns:
        raise ValueError(f"{folder} has no metric {metric!r}: choose from {', '.join(rows.columns)}")
    return np.array([bool(text) for text in rows.columns[metric]])


@dataclass(frozen=True)
class _Rows:
    """The rows of a `metrics.csv` as text.

    Attributes:
        path: the file.
        columns: the fields of each column, by its name.
        lines: the number of the line that each row stands in.
    """

    path: Path
    columns: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]


def _read_rows(folder: Path) -> _Rows:
    path = folder / METRICS_FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no {METRICS_FILE}: name the folder of a run")
    found = _read_lines(path)
    columns = found[0][1] if found else []
    # A killed run, or a full disk, may have left half a line, whether or not somebody ended it since.
    if found and len(found[-1][1]) < len(columns):
        found = found[:-1]
    if len(found) < 2:
        raise ValueError(f"{path} holds no metrics yet: let the run reach its first line")
    if missing := [name for name in WHOLE_COLUMNS if name not in columns]:
        raise ValueError(f"{path} has no column {missing[0]!r}: its first line must be the header that the run wrote")
    for line, fields in found[1:]:
        if len(fields) != len(columns):
            number = f"{len(fields)} of {len(columns)}"
            raise ValueError(f"{path}, line {line}, has {number} fields: mend the line, or remove it")
    lines, rows = zip(*found[1:], strict=True)
    return _Rows(path, dict(zip(columns, zip(*rows, strict=True), strict=True)), lines)


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """The number and the fields of each line of a CSV file that has its end and is not blank."""
    data = path.read_bytes()
    # What comes after the last end of a line is half a line, and in it perhaps half a number.
    data = data[: data.rfind(b"\n") + 1]
    try:
        # An editor may have put a byte order mark in front.
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        return [(reader.line_num, fields) for fields in reader if not _is_blank(fields)]
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}, is no text in UTF-8: save the file as UTF-8, or remove the line"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV file ({error}): mend it, or leave the run out") from error


def _is_blank(fields: Sequence[str]) -> bool:
    return not fields or (len(fields) == 1 and not fields[0].strip())


def _numbers(rows: _Rows, name: str) -> np.ndarray:
    """A column as numbers, after a check that each row has one where it must."""
    numbers = [_number(text) for text in rows.columns[name]]
    whole = name in WHOLE_COLUMNS
    for line, text, number in zip(rows.lines, rows.columns[name], numbers, strict=True):
        if number is None or (whole and not number.is_integer()):
            kind = "a whole number" if whole else "a number or empty"
            raise ValueError(
                f"{rows.path}, line {line}: {name} ({reprlib.repr(text)}) must be {kind}: mend the line, or remove it"
            )
    return np.array(numbers, float)


def _number(text: str) -> float | None:
    """A field as a number, NaN where it is empty and `None` where it is something else."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        return None


def _check_steps_increase(rows: _Rows, table: Mapping[str, np.ndarray]) -> None:
    """Check that no seed has a step twice, or goes back: a row that was copied would count twice."""
    last: dict[float, tuple[float, int]] = {}
    for line, seed, step in zip(rows.lines, table["seed"], table["step"], strict=True):
        before, earlier = last.get(seed, (-math.inf, 0))
        if step <= before:
            raise ValueError(
                f"{rows.path}, line {line}, has seed {seed:.0f} at step {step:.0f} after step {before:.0f} in line "
                f"{earlier}: a seed's steps increase, remove the line that does not belong"
            )
        last[seed] = step, line
