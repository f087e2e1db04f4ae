"""Metrics as a CSV file: `pandas.read_csv(folder / "metrics.csv")`."""

from __future__ import annotations

import csv
import errno
import io
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
            ValueError: if the file has other columns than the run.
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
        first = file.readline()
        if not first.endswith(b"\n"):
            return 0
        if first != header:
            raise ValueError(
                f"{path} has the columns {first.decode(errors='replace').strip()} where this run logs "
                f"{header.decode().strip()}: move the file away to resume"
            )
        column = header.decode().strip().split(",").index("step")
        kept = len(first)
        for line in file:
            if not line.endswith(b"\n") or int(line.split(b",")[column]) > step:
                break
            kept += len(line)
    return kept


def _line(values: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _text(value: float | int) -> str:
    """As short as it reads back exactly."""
    return str(value) if isinstance(value, int) else repr(float(value))
