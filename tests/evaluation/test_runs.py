from __future__ import annotations

from pathlib import Path

import pytest

from memorax.evaluation.runs import read_config
from tests.evaluation.make_run import make_run


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", (0,))
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="was not written by memorax"):
        read_config(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        read_config(folder)
