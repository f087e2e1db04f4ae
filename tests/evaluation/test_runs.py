from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memorax.evaluation.runs import read_config, read_metrics
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
