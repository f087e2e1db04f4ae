from __future__ import annotations

import errno
import io
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from memorax.loggers import FileLogger, RunDescription, make_loggers

COLUMNS = ("seed", "step", "seconds", "return")


def describe(step: int, columns: tuple[str, ...] = COLUMNS) -> RunDescription:
    return RunDescription("id", "name", columns, step, total_steps=40, num_seeds=2)


def rows(step: int) -> list[dict[str, float | int]]:
    first = {"seed": 0, "step": step, "seconds": 0.1, "return": step / 3}
    return [first, {"seed": 1, "step": step, "seconds": 0.1}]


def write(folder: Path, start: int, *steps: int) -> Path:
    folder.mkdir(exist_ok=True)
    logger = FileLogger(folder)
    logger.start(describe(start))
    for step in steps:
        logger.log(rows(step), 1.0)
    logger.close("completed")
    return folder / "metrics.csv"


def test_pandas_reads_it_in_one_line(tmp_path: Path) -> None:
    table = pd.read_csv(write(tmp_path, 0, 10, 20))
    assert tuple(table.columns) == COLUMNS
    assert table["step"].tolist() == [10, 10, 20, 20]
    assert table["return"].tolist()[::2] == [10 / 3, 20 / 3]
    assert table["return"].isna().tolist() == [False, True] * 2


def test_what_came_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    whole = write(tmp_path, 0, 10, 20, 30).read_bytes()
    path = write(tmp_path, 0, 10, 20)
    with open(path, "ab") as file:
        file.write(b"0,30,0.1,\n1,3")
    assert write(tmp_path, 10, 20, 30).read_bytes() == whole
    assert write(tmp_path, 0, 10, 20, 30).read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"seed,st", b"seed,step,seconds,return\n0,1"])
def test_a_file_cut_anywhere_is_mended(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    table = pd.read_csv(write(tmp_path, 10, 20))
    assert table["step"].tolist() == [20, 20]


def test_blank_lines_and_what_an_editor_adds_stop_no_resumed_run(tmp_path: Path) -> None:
    path = write(tmp_path, 0, 10, 20)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([*lines[:3], b"", *lines[3:], b"0,2", b"", b""]))
    table = pd.read_csv(write(tmp_path, 20, 30))
    assert tuple(table.columns) == COLUMNS
    assert table["step"].tolist() == [10, 10, 20, 20, 30, 30]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"0", r"line 3, has 1 of 4 fields: mend or remove the line, or move the file away to resume"),
        (b"1,nan,0.1,", r"line 3, has the step 'nan', which is no whole number: mend or remove the line"),
        (b"1,,0.1,", r"line 3, has the step '', which is no whole number"),
    ],
)
def test_a_line_that_says_no_step_is_refused(tmp_path: Path, line: bytes, message: str) -> None:
    path = write(tmp_path, 0, 10, 20)
    lines = path.read_bytes().splitlines()
    before = b"\n".join([*lines[:2], line, *lines[3:], b""])
    path.write_bytes(before)
    with pytest.raises(ValueError, match=rf"metrics\.csv, {message}"):
        FileLogger(tmp_path).start(describe(20))
    assert path.read_bytes() == before


def test_other_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 0, 10)
    with pytest.raises(ValueError, match="has the columns seed,step,seconds,return where this run logs seed,step,loss"):
        FileLogger(tmp_path).start(describe(10, ("seed", "step", "loss")))


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    logger = FileLogger(tmp_path)
    with pytest.raises(OSError, match="no space left on the disk for metrics: free some") as raised:
        logger.start(describe(0))
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="no space left"):
        logger.close("failed")


def test_lines_that_could_not_be_written_are_written_with_the_next_ones(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", 0, 10, 20, 30).read_bytes()

    class Broken(io.BytesIO):
        """Takes half of a line and then nothing."""

        def write(self, data: Any) -> int:
            if self.tell():
                raise OSError(errno.EIO, "no answer")
            return super().write(data[:5])

    logger = FileLogger(tmp_path)
    logger.start(describe(0))
    logger.log(rows(10), 1.0)
    file, logger._file = logger._file, Broken()  # type: ignore[assignment]
    with pytest.raises(OSError, match="no answer"):
        logger.log(rows(20), 1.0)
    taken, logger._file = logger._file, file
    file.write(taken.getvalue())  # type: ignore[union-attr]
    logger.log(rows(30), 1.0)
    logger.close("completed")
    assert (tmp_path / "metrics.csv").read_bytes() == whole


def test_nan_is_told_from_nothing(tmp_path: Path) -> None:
    logger = FileLogger(tmp_path)
    logger.start(describe(0))
    logger.log([{"seed": 0, "step": 10, "seconds": 0.1, "return": math.nan}, {"seed": 1, "step": 10}], 1.0)
    logger.close("completed")
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1:] == ["0,10,0.1,nan", "1,10,,"]


def test_loggers_are_made_by_name(tmp_path: Path) -> None:
    assert isinstance(make_loggers(["file"], tmp_path)[0], FileLogger)
    assert FileLogger(str(tmp_path)).path == FileLogger(tmp_path).path
    with pytest.raises(ValueError, match="unknown logger 'paper': choose from file, terminal, tensorboard, "):
        make_loggers(["paper"], tmp_path)
    with pytest.raises(ValueError, match="the file logger needs a folder"):
        make_loggers(["file"], None)
