from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest

import memorax
from memorax.cli import main
from memorax.deployment import Policy
from memorax.deployment.acting import program_of
from memorax.deployment.export import describe_training, export_policy
from memorax.deployment.manifest import read_manifest, write_manifest
from memorax.environments.spaces import Box
from memorax.training.folder import check_folder
from tests.deployment.replay import FIRST, assert_acts_as, make_agent

PLAY = """
import sys
import gymnasium
import memorax

policy = memorax.load_policy(sys.argv[1])
env = gymnasium.make("CartPole-v1", max_episode_steps=30)
print(*policy.run(env, episodes=3, seed=5))
for name in ("networks", "algorithms", "training", "environments.gymnasium"):
    assert f"memorax.{name}" not in sys.modules, name
"""


def test_an_exported_policy_acts_as_the_agent_does(tmp_path: Path) -> None:
    wrappers: dict[str, Any] = {"normalize_reward": 0.9, "normalize_observation": True, "frame_stack": 2}
    agent = make_agent(Box(np.asarray([-2.0, 0.0]), np.asarray([2.0, 10.0]), (2,)), "lru", wrappers)
    state, _ = jax.jit(agent.act)(*agent.init(jax.random.key(0)))
    policy = Policy(program_of(agent, state))
    export_policy(policy, tmp_path)
    loaded = memorax.load_policy(tmp_path)
    assert_acts_as(agent, state, 50, [loaded])
    sampling, drawing = (Policy(each.program, deterministic=False, sampling_seed=3) for each in (policy, loaded))
    for _ in range(3):
        np.testing.assert_allclose(drawing(FIRST, 1.0), sampling(FIRST, 1.0), rtol=1e-5)
    with pytest.raises(ValueError, match="holds an exported policy: choose another folder"):
        export_policy(policy, tmp_path)
    with pytest.raises(ValueError, match="policy was exported before"):
        export_policy(loaded, tmp_path / "again")


def test_another_process_plays_without_any_network(folder: Path, exported: Path) -> None:
    played = subprocess.run([sys.executable, "-c", PLAY, exported], capture_output=True, text=True, check=True)
    env = gymnasium.make("CartPole-v1", max_episode_steps=30)
    expected = memorax.load_policy(folder).run(env, 3, seed=5)
    assert list(map(float, played.stdout.split())) == expected.tolist()


def test_an_evaluation_whose_return_is_no_number_is_among_those_reached(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder, tmp_path / "run")
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    last = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    rows[-1] = ",".join((last | {"evaluation_return": "nan"}).values())
    (run / "metrics.csv").write_text("\n".join([header, *rows]) + "\n")
    assert np.isnan(describe_training(run, 3)["evaluations"][-1]["return"])


def test_the_manifest_describes_the_policy(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["observation_space"]["shape"] == [4]
    assert manifest["carry"]["network"] == {"shape": [8], "dtype": "float32"}
    assert manifest["normalisation"] == ["observation"]
    training = manifest["training"]
    assert (training["seed"], training["config"]["environment"]) == (3, "gymnasium::CartPole-v1")
    assert training["evaluations"][-1]["step"] == 128 and training["evaluations"][-1]["return"] > 1
    assert set(manifest["versions"]) >= {"memorax", "jax"}
    assert {path.name for path in exported.iterdir()} >= {
        "greedy.stablehlo",
        "sampling.stablehlo",
        "params.safetensors",
    }


def test_what_cannot_be_loaded_is_said(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seed \(9\) must be that of the exported policy: 3"):
        memorax.load_policy(exported, seed=9)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"must have the format 1"):
        memorax.load_policy(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("step", "best"), ("agent", object())])
def test_what_an_exported_policy_does_not_have_is_refused(exported: Path, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be left out: .* is an exported policy"):
        memorax.load_policy(exported, **{name: value})


FILES = ("manifest.json", "greedy.stablehlo", "params.safetensors", "carry.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_damaged_or_missing_is_named(exported: Path, tmp_path: Path, name: str) -> None:
    policy = shutil.copytree(exported, tmp_path / "policy")
    whole = (policy / name).read_bytes()

    def message() -> str:
        with pytest.raises(ValueError) as error:
            memorax.load_policy(policy)(np.zeros(4, np.float32), 0.0, True)
        return str(error.value)

    for kept in (0, 5, len(whole) // 2, len(whole) - 64):
        (policy / name).write_bytes(whole[:kept])
        damaged = rf"{re.escape(str(policy / name))} is (damaged|not valid JSON) \(.*\): export the policy again"
        assert re.fullmatch(damaged, message())
    (policy / name).unlink()
    assert message() == f"{policy / name} is missing: export the policy again"


def test_files_of_different_policies_are_told(exported: Path, tmp_path: Path) -> None:
    policy = shutil.copytree(exported, tmp_path / "policy")
    shutil.copy(policy / "carry.safetensors", policy / "params.safetensors")
    with pytest.raises(
        ValueError, match=r"params.safetensors.* must .*: so says manifest.json; export the policy again$"
    ):
        memorax.load_policy(policy)
    (policy / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"manifest.json is damaged \('observation_space'\): export the policy again$"):
        memorax.load_policy(policy)


def test_what_is_no_policy_or_no_folder_is_said(folder: Path, tmp_path: Path) -> None:
    policy = memorax.load_policy(folder)
    (tmp_path / "file").write_text("")
    for arguments, message in (
        (("x", tmp_path / "new"), r"^policy \('x'\) must be a policy, as load_policy loads it from a run$"),
        ((policy, 5), r"^folder \(5\) must be a path"),
        ((policy, tmp_path / "file"), r"^folder \(.*file\) is a file: choose another name$"),
    ):
        with pytest.raises(ValueError, match=message):
            export_policy(*arguments)
    with pytest.raises(ValueError, match=r"^source \(5\) must be a folder, or hub:NAME$"):
        memorax.load_policy(5)  # type: ignore[arg-type]


def test_runs_and_exported_policies_do_not_share_a_folder(folder: Path, exported: Path) -> None:
    assert main(["export", str(folder), str(folder)]) == 2
    assert not (folder / "manifest.json").exists()
    with pytest.raises(ValueError, match="holds an exported policy: choose another folder"):
        check_folder(exported)


def test_others_may_read_what_is_exported(exported: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in exported.iterdir()}
    assert len(modes) == 1, "as the umask says"


def test_numbers_that_json_lacks_are_text_in_a_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"training": {"config": {"max_grad_norm": float("inf"), "gamma": 0.5}, "returns": [1, 2]}})
    written = read_manifest(tmp_path)["training"]
    assert written == {"config": {"max_grad_norm": "inf", "gamma": 0.5}, "returns": [1, 2]}
