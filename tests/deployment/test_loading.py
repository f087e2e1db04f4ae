from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import jax
import numpy as np
import pytest

import memorax
from memorax.deployment import Policy
from memorax.deployment.acting import program_of
from memorax.environments.interface import describe_interface
from memorax.environments.wrappers import WRAPPERS
from memorax.training import build_agent, load_run
from memorax.training.checkpoints import Checkpoints
from memorax.training.config import config_to_json
from memorax.training.folder import checkpoints_folder
from memorax.training.record import RunRecord
from memorax.training.run import evaluate_run
from tests.deployment.conftest import CONFIG
from tests.training import small

PLAY = """
import sys
import gymnasium
sys.modules["memorax.environments.gymnasium"] = None
import memorax

policy = memorax.load_policy(sys.argv[1])
env = gymnasium.make("CartPole-v1", max_episode_steps=30)
print(*policy.run(env, episodes=3, seed=5))
"""


def play() -> gymnasium.Env:
    return gymnasium.make("CartPole-v1", max_episode_steps=30)


def test_a_run_is_loaded_without_its_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(folder)
    expected = Policy(program_of(run.agent, run.seed(3))).run(play(), 3, seed=5)
    monkeypatch.setattr("memorax.make", lambda *_, **__: pytest.fail("the environment was made"))
    policy = memorax.load_policy(folder)
    assert policy.observation_space.shape == (4,), "what the environment shows, without any wrapper"
    np.testing.assert_array_equal(policy.run(play(), 3, seed=5), expected)
    assert set(policy.params) >= {"observation_statistics.mean", "observation_statistics.variance"}
    assert len(set(expected)) > 1 and expected.max() <= 30


@pytest.mark.slow
def test_its_returns_are_those_of_the_evaluation(folder: Path) -> None:
    returns = memorax.load_policy(folder).run(play(), 100, seed=0)
    evaluated = evaluate_run(folder, 3000).returns[0]
    deviation = np.sqrt(np.var(returns) / len(returns) + np.var(evaluated) / len(evaluated))
    assert abs(np.mean(returns) - np.mean(evaluated)) < 5 * deviation


@pytest.mark.slow
def test_another_process_plays_in_ten_lines(folder: Path) -> None:
    assert len(PLAY.strip().splitlines()) <= 10
    played = subprocess.run([sys.executable, "-c", PLAY, folder], capture_output=True, text=True, check=True)
    expected = memorax.load_policy(folder).run(play(), 3, seed=5)
    assert list(map(float, played.stdout.split())) == expected.tolist()


def test_a_run_that_does_not_say_its_spaces_makes_its_environment(folder: Path) -> None:
    expected = memorax.load_policy(folder).run(play(), 2, seed=1)
    path = folder / "config.json"
    written = path.read_text()
    content = json.loads(written)
    del content["interface"]
    path.write_text(json.dumps(content))
    try:
        np.testing.assert_array_equal(memorax.load_policy(folder).run(play(), 2, seed=1), expected)
    finally:
        path.write_text(written)


def test_a_seed_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"seed \(4\) must be one of the run's: 3"):
        memorax.load_policy(folder, seed=4)
    with pytest.raises(ValueError, match=r"^seed \(x\) must be a whole number"):
        memorax.load_policy(folder, seed="x")  # type: ignore[arg-type]
    assert memorax.load_policy(folder, seed=3.0).params  # type: ignore[arg-type]


def test_an_agent_that_is_not_that_of_the_run_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"^agent \('x'\) must be an agent"):
        memorax.load_policy(folder, agent="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"was saved by another agent: at .* where this one has "):
        memorax.load_policy(folder, agent=build_agent(dataclasses.replace(CONFIG, features=4)))
    same = build_agent(CONFIG)
    caplog.clear()
    memorax.load_policy(folder, agent=same)
    assert not caplog.records
    settings = dataclasses.replace(CONFIG.hyperparameters, gamma=0.5)
    memorax.load_policy(folder, agent=build_agent(dataclasses.replace(CONFIG, hyperparameters=settings)))
    (record,) = caplog.records
    assert record.getMessage() == "the agent is not that of run run: hyperparameters.gamma 0.99 -> 0.5"
    rewards = build_agent(dataclasses.replace(CONFIG, normalize_reward=True))
    with pytest.raises(ValueError, match=r"was saved by another agent: it holds no .*, which this one takes$"):
        memorax.load_policy(folder, agent=rewards)


def test_every_seed_has_its_own_policy(tmp_path: Path) -> None:
    agent = build_agent(small.CONFIG)
    interface = describe_interface(agent.env, agent.env_params).to_json()
    RunRecord("id", "name", 3, 2, 32, config=config_to_json(small.CONFIG), interface=interface).write(tmp_path)
    keys, states = jax.jit(jax.vmap(agent.init))(jax.vmap(jax.random.key)(np.arange(3, 5)))
    Checkpoints(checkpoints_folder(tmp_path)).save(32, 1.0, (keys, states))
    for index, seed in enumerate((3, 4)):
        params = memorax.load_policy(tmp_path, seed=seed).params
        learned = program_of(agent, jax.tree.map(lambda x, i=index: x[i], states)).params
        assert set(params) == set(learned)
        for name, array in learned.items():
            np.testing.assert_array_equal(params[name], array)


def test_the_page_of_deployment_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "pole").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    assert namespace["action"].shape == (2,)
    for keyword in WRAPPERS:
        assert f"`{keyword}`" in page or keyword == "global_state"


def test_a_folder_without_a_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        memorax.load_policy(tmp_path)
