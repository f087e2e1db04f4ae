from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest

import memorax
from memorax.cli import main
from memorax.deployment.hub import download, upload
from memorax.deployment.model_card import model_card


def test_a_policy_that_was_pushed_is_loaded_by_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORAX_HUB", str(tmp_path))
    assert main(["push", str(folder), "hub:me/cartpole"]) == 0
    policy = memorax.load_policy("hub:me/cartpole")
    env = gymnasium.make("CartPole-v1", max_episode_steps=30)
    np.testing.assert_array_equal(policy.run(env, 2, seed=5), memorax.load_policy(folder).run(env, 2, seed=5))

    card = (tmp_path / "me" / "cartpole" / "README.md").read_text()
    _, front, page = card.split("---\n", 2)
    facts = {line.partition(": ")[0]: json.loads(line.partition(": ")[2]) for line in front.splitlines()}
    assert facts["tags"][-2:] == ["gymnasium::CartPole-v1", "ppo"]
    reached = json.loads((tmp_path / "me" / "cartpole" / "manifest.json").read_text())["training"]["evaluations"][-1]
    value = f"{reached['return']:.4g} over {reached['episodes']} episodes"
    assert facts["model-index"][0]["results"][0]["metrics"][0]["value"] == value
    assert value in page and 'load_policy("hub:me/cartpole")' in page and "128 environment steps, seed 3" in page
    assert (tmp_path / "me" / "cartpole" / "learning_curve.png").is_file() and "learning_curve.png" in page
    with pytest.raises(ValueError, match="hub:me/other is not there"):
        memorax.load_policy("hub:me/other")


def test_a_card_counts_what_was_reached_by_the_step() -> None:
    evaluations: list[dict[str, Any]] = [
        {"step": 10, "return": 1.5, "episodes": 2},
        {"step": 20, "return": 9.0, "episodes": 2},
    ]
    manifest: dict[str, Any] = {
        "training": {"config": {"environment": "a::B"}, "evaluations": evaluations, "step": 10, "seed": 0},
        "observation_space": {"kind": "dict", "spaces": {"x": {"kind": "discrete", "n": 3}}},
        "action_space": {"kind": "multi_discrete", "nvec": [2, 3]},
        "normalisation": [],
        "versions": {},
        "programs": {"onnx": {"file": None, "reason": "sort"}},
    }
    manifest["training"]["parameters"] = {"actor": 1000}
    card = model_card(manifest, "hub:x", curve=False)
    assert "| mean return | 1.5 over 2 episodes |" in card
    assert "| observations | `x`: one of 3 |" in card and "| actions | 2 choices, of 2, 3 |" in card
    assert "| ONNX | no: sort |" in card and "learning_curve" not in card
    # A manifest has numbers that are not finite as text.
    evaluations[0]["return"] = "nan"
    assert "| mean return | nan over 2 episodes |" in model_card(manifest, "hub:x", curve=False)


def test_the_hub_is_asked_where_no_directory_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    class Repository(str):
        repo_id = "someone/name"

    class Api:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> Repository:
            asked.append((name, private, exist_ok))
            return Repository("where it is")

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
            asked.append((repo_id, folder_path))

    hub: Any = ModuleType("huggingface_hub")
    hub.HfApi, hub.snapshot_download = Api, lambda name: f"/downloaded/{name}"
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.delenv("MEMORAX_HUB", raising=False)
    assert upload(tmp_path, "hub:name", private=True) == "where it is"
    assert asked == [("name", True, True), ("someone/name", tmp_path)]
    assert download("hub:someone/name") == Path("/downloaded/someone/name")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"need the package 'huggingface_hub': pip install .*\[hub\]"):
        download("hub:someone/name")


@pytest.mark.parametrize("target", ["name", "hub:", "hub:../up", "hub:a/b/c", "hub:a b"])
def test_names_are_checked(target: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be hub:NAME or hub:OWNER/NAME"):
        upload(tmp_path, target)


def test_one_policy_never_takes_the_place_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, folder = tmp_path / "shared", tmp_path / "policy"
    monkeypatch.setenv("MEMORAX_HUB", str(shared))
    folder.mkdir()
    (folder / "manifest.json").write_text("first")
    upload(folder, "hub:lab/a")
    upload(folder, "hub:lab/b")
    with pytest.raises(ValueError, match="lab holds something else than a policy, such as those of an owner"):
        upload(folder, "hub:lab")
    upload(folder, "hub:alone")
    with pytest.raises(ValueError, match="alone is a policy, and no owner"):
        upload(folder, "hub:alone/a")
    (folder / "manifest.json").write_text("second")
    upload(folder, "hub:lab/a")
    found = {str(path.relative_to(shared)): path.read_text() for path in shared.rglob("manifest.json")}
    assert found == {"lab/a/manifest.json": "second", "lab/b/manifest.json": "first", "alone/manifest.json": "first"}
    assert sorted(path.name for path in (shared / "lab").iterdir()) == ["a", "b"]
