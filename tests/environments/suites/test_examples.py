"""The examples whose environments are other packages' play them."""

from __future__ import annotations

from pathlib import Path

import pytest

from memorax.training import load_run
from tests.test_examples import load

SMALL = {"total_steps": 16, "features": 4, "num_envs": 2}


def test_atari_is_learned_from_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = load("atari_from_pixels", monkeypatch).main(folder=tmp_path / "run", num_steps=8, **SMALL)
    assert load_run(folder).step == 16


@pytest.mark.parametrize("algorithm", ["ippo", "mappo"])
def test_several_agents_spread(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("several_agents", monkeypatch).main(algorithm=algorithm, **SMALL) < 0
