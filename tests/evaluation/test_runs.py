from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memorax.evaluation.runs import read_config, read_logged, read_metrics
from tests.evaluation.make_run import make_run


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,))
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="was not written by memorax"):
        read_config(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        read_config(folder)


def test_an_empty_config_says_what_happened(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match=r"is empty: the run was killed as it began. Remove .*, and start it again"):
        read_config(tmp_path)


@pytest.mark.parametrize("torn", ["0,30,123.4", "0,30,1.2e-", "0,3"])
def test_a_last_line_without_its_end_is_not_read(tmp_path: Path, torn: str) -> None:
    (tmp_path / "metrics.csv").write_bytes(f"seed,step,return\r\n0,10,1.5\r\n0,20,\r\n{torn}".encode())
    found = read_metrics(tmp_path)
    np.testing.assert_equal(
        {name: column.tolist() for name, column in found.items()},
        {"seed": [0.0, 0.0], "step": [10.0, 20.0], "return": [1.5, np.nan]},
    )


LINES = ("seed,step,return", "0,10,1.5", "1,10,2.5", "0,20,3.5", "1,20,")


def write(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    (folder / "metrics.csv").write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_what_an_editor_adds_is_no_matter(tmp_path: Path, encoding: str) -> None:
    """A byte order mark, blank lines, and the end of a line that a killed run had written half of."""
    write(tmp_path, LINES[0], "", *LINES[1:3], " ", *LINES[3:], "0,3", "", encoding=encoding)
    found = read_metrics(tmp_path)
    np.testing.assert_equal(
        {name: column.tolist() for name, column in found.items()},
        {"seed": [0, 1, 0, 1], "step": [10, 10, 20, 20], "return": [1.5, 2.5, 3.5, np.nan]},
    )
    assert read_logged(tmp_path, "return").tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (2, "0,10,abc", r"line 2: return \('abc'\) must be a number or empty: mend the line, or remove it"),
        (3, ",10,2.5", r"line 3: seed \(''\) must be a whole number: mend the line, or remove it"),
        (3, "0.5,10,2.5", r"line 3: seed \('0.5'\) must be a whole number"),
        (3, "1,nan,2.5", r"line 3: step \('nan'\) must be a whole number"),
        (3, "1,1", r"line 3, has 2 of 3 fields: mend the line, or remove it"),
        (5, "1,20,1,1", r"line 5, has 4 of 3 fields: mend the line, or remove it"),
        (4, "0,10,1.5", r"line 4, has seed 0 at step 10 after step 10 in line 2: a seed's steps increase, remove the"),
        (5, "1,5,1.5", r"line 5, has seed 1 at step 5 after step 10 in line 3: a seed's steps increase"),
        (1, "step,return,loss", r"has no column 'seed': its first line must be the header that the run wrote"),
        (1, "0,10,1.5", r"has no column 'seed': its first line must be the header that the run wrote"),
    ],
)
def test_a_line_that_is_damaged_is_named(tmp_path: Path, number: int, line: str, message: str) -> None:
    write(tmp_path, *LINES[: number - 1], line, *LINES[number:])
    with pytest.raises(ValueError, match=rf"metrics\.csv,? {message}"):
        read_metrics(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    for content, message in (
        (
            "\n".join((*LINES, "")).encode("utf-16"),
            "line 1, is no text in UTF-8: save the file as UTF-8, or remove the li",
        ),
        (b"seed,step,return\n0,10,\xff\x00\n", "line 2, is no text in UTF-8"),
        (b"\xff\xfe\x00" * 100 + b"\n\x00\x01\n", "line 1, is no text in UTF-8"),
    ):
        (tmp_path / "metrics.csv").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_metrics(tmp_path)


def test_a_folder_that_is_none_or_holds_runs_is_told(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a", (0,))
    (tmp_path / "file").touch()
    for folder, message in (
        (tmp_path / "nowhere", "nowhere does not exist: name the folder of a run"),
        (tmp_path / "file", "file is a file: name the folder of a run"),
        (tmp_path / "runs", r"runs holds no config.json: name one of its 1 runs, such as .*a$"),
        (tmp_path, "holds no config.json: name the folder of a run"),
    ):
        with pytest.raises(ValueError, match=message):
            read_config(folder)
