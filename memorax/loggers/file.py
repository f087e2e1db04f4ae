"""Metrics as a CSV file: `pandas.read_csv(folder / "metrics.csv")`."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from memorax.loggers.logger import Logger, Outcome, Row, RunDescription

METRICS_FILE = "metrics.csv"


class FileLogger(Logger):
    """Writes one line per seed and step to `metrics.csv`, flushed at once.

    Where a run is resumed, it first cuts off what had been written after the checkpoint. Lines that could not be
    written (a full disk) are kept and written with the next ones. A field is empty where there is nothing, and `nan`
    for NaN.
    """

    def __init__(self, folder: str | Path | None) -> None:
        super().__init__(folder)
        if self.folder is None:
            raise ValueError("the file logger needs a folder: pass one, or leave the file logger out")
        self.path = self.folder / METRICS_FILE
        self._file: BinaryIO | None = None
        self._columns: tuple[str, ...] = ()
        self._unwritten = b""

    def start(self, run: RunDescription) -> None:
        """Open the file.

        Raises:
            ValueError: if the file has other columns than the run, or a line that says no step.
        """
        self._columns = run.columns
        header = _line(run.columns)
        kept = _kept_bytes(self.path, header, run.step)
        # Unbuffered: a line is with the operating system once it is written, whatever happens to this process.
        self._file = open(self.path, "r+b" if kept else "wb", buffering=0)  # noqa: SIM115 - closed by close()
        if kept:
            self._file.truncate(kept)
            self._file.seek(kept)
        else:
            self._write(header)

    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        """Append the rows.

        Raises:
            OSError: if they cannot be written; they are with the next ones, from where it broke off.
        """
        lines = ([_text(row[column]) if column in row else "" for column in self._columns] for row in rows)
        self._write(b"".join(map(_line, lines)))

    def close(self, outcome: Outcome) -> None:
        """Close the file, after a last try to write what could not be.

        Raises:
            OSError: if it still cannot.
        """
        if self._file is None:
            return
        try:
            self._write(b"")
        finally:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is None:
            raise RuntimeError("the file logger was not started")
        self._unwritten += data
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[self._file.write(self._unwritten) :]
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise OSError(
                    errno.ENOSPC, "no space left on the disk for metrics: free some", str(self.path)
                ) from error
            raise


def _kept_bytes(path: Path, header: bytes, step: int) -> int:
    """How much of the file stays: the header and the complete lines up to `step`."""
    if not path.exists() or step == 0:
        return 0
    with open(path, "rb") as file:
        first, *lines = file.readlines() or [b""]
    if not first.endswith(b"\n"):
        return 0
    # An editor may have put a byte order mark in front, or other ends of lines.
    columns = first.removeprefix(codecs.BOM_UTF8).strip()
    if columns != header.strip():
        raise ValueError(
            f"{path} has the columns {columns.decode(errors='replace')} where this run logs "
            f"{header.decode().strip()}: move the file away to resume"
        )
    names, kept = header.decode().strip().split(","), len(first)
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=2):
        fields = line.strip().split(b",")
        # The last line may be half a one, whether or not somebody ended it since.
        half = not line.endswith(b"\n") or (number == len(lines) + 1 and len(fields) < len(names))
        if half or (line.strip() and _step(path, number, fields, names) > step):
            break
        kept += len(line)
    return kept


def _step(path: Path, number: int, fields: Sequence[bytes], names: Sequence[str]) -> float:
    """The step that a line says."""
    if len(fields) != len(names):
        found = f"has {len(fields)} of {len(names)} fields"
    else:
        text = fields[names.index("step")].decode(errors="replace")
        try:
            step = float(text)
        except ValueError:
            step = math.nan
        if step.is_integer():
            return step
        found = f"has the step {text!r}, which is no whole number"
    raise ValueError(f"{path}, line {number}, {found}: mend or remove the line, or move the file away to resume")


def _line(values: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _text(value: float | int) -> str:
    """As short as it reads back exactly."""
    return str(value) if isinstance(value, int) else repr(float(value))
