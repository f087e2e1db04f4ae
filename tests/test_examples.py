"""Every example runs: for a few steps, with small networks."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import runpy
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import memorax
from benchmarks import learning
from memorax.deployment import Policy
from memorax.deployment.acting import program_of
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Discrete
from memorax.laboratory.presets import load_preset
from memorax.training import build_agent, load_run
from tests.training.small import small_agent

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def run_notebook(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """The names that a notebook leaves behind."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


class Flash(Environment):
    """A stand-in for games: a picture is bright or dark, and the action names which; episodes have four steps."""

    def reset(self, key, params):
        return self.draw(key), jnp.zeros((), jnp.int32)

    def draw(self, key):
        return jnp.where(jax.random.bernoulli(key), jnp.uint8(255), jnp.uint8(0)) * jnp.ones((36, 36, 1), jnp.uint8)

    def step_env(self, key, env_state, action, params):
        return self.draw(key), env_state + 1, (action > 0).astype(jnp.float32), env_state == 3, jnp.asarray(False), {}

    def observation_space(self, params):
        return Box(0, 255, (36, 36, 1), jnp.uint8)

    def action_space(self, params):
        return Discrete(2)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_explains_itself_and_is_listed(name: str) -> None:
    lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
    assert lines[0].startswith('"""'), "it begins with what it shows"
    assert len([line for line in lines if line.strip()]) < 80
    assert f"`{name}.py`" in (EXAMPLES / "README.md").read_text()


def test_ppo_with_a_gru_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    left = run_notebook("ppo_gru", monkeypatch, "--total-steps", "16", "--features", "4", "--num-envs", "4")
    assert left["state"].step == 5 * 4 * 128
    assert -1 <= left["result"] <= 1
    measured = learning.settings("gru", "popgym::RepeatPreviousEasy")
    assert dataclasses.replace(left["config"], num_envs=16) == measured.hyperparameters
    of_measured = build_agent(dataclasses.replace(measured, features=4)).networks
    for name, network in left["agent"].networks.items():
        assert (network.torso, network.head) == (of_measured[name].torso, of_measured[name].head)


def test_memories_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    left = run_notebook("ten_memories", monkeypatch, "--total-steps", "16", "--features", "4", "--torsos", "mlp")
    ((step, result),) = left["results"].values()
    assert step == 16 * 128
    assert -1 <= result <= 1
    assert len(left["TORSOS"]) == 10 and set(left["TORSOS"]) <= set(memorax.networks.TORSOS)
    measured = learning.settings("mlp", "popgym::RepeatFirstEasy")
    assert dataclasses.replace(left["config_of"]("mlp"), features=64) == measured, "of which the results are told"


@pytest.mark.parametrize("name", ["ppo_gru", "ten_memories"])
def test_a_notebook_has_cells_of_text_and_of_code(name: str) -> None:
    cells = re.findall(r"^# %%( \[markdown\])?$", (EXAMPLES / f"{name}.py").read_text(), re.MULTILINE)
    assert len(cells) > 5
    assert len(set(cells)) == 2


def slow(*values: Any) -> Any:
    """A case that takes longer than the others."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "arguments", "low", "high"),
    [
        slow("recurrent_sac", {"total_steps": 32, "features": 4, "learning_starts": 64}, -2000, 0),
        ("r2d2", {"total_steps": 16, "features": 4, "learning_starts": 192}, -1, 1),
        (
            "several_agents",
            {"environment": "tests.probes:OthersCue", "total_steps": 16, "features": 4, "num_envs": 2},
            -1,
            1,
        ),
        ("parts_of_your_own", {"total_steps": 16, "features": 4}, 0, 15),
        ("rl2_trials", {"total_steps": 16, "features": 4}, 0, 1),
        slow("rtrl_online", {"total_steps": 8, "memory_length": 2, "features": 4}, -1, 1),
    ],
)
def test_an_example_runs(
    name: str, arguments: dict[str, Any], low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    main: Callable[..., float] = load(name, monkeypatch).main
    assert low <= main(**arguments) <= high


@pytest.mark.parametrize(
    ("name", "arguments", "preset"),
    [
        ("recurrent_sac", (), "sac_gru_position_only_pendulum"),
        ("r2d2", (), "r2d2_gru_tmaze"),
        ("rtrl_online", (100_000,), "ac_lambda_rtu_memory_chain_30"),
        ("several_agents", ("ippo", "jaxmarl::MPE_simple_spread_v3", 600_000, 64, 16), "ippo_gru_spread"),
        ("several_agents", ("mappo", "jaxmarl::MPE_simple_spread_v3", 600_000, 64, 16), "mappo_gru_spread"),
    ],
)
def test_what_an_example_promises_was_measured_with_its_settings(
    name: str, arguments: tuple[Any, ...], preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, measured = load(name, monkeypatch).settings(*arguments), load_preset(preset)
    assert dataclasses.replace(config, total_steps=measured.total_steps) == measured
    if config.anneal_lr:
        assert config.total_steps == measured.total_steps, "learning rates fall over the whole run"


def test_the_prize_stays_for_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("rl2_trials", monkeypatch)
    env = example.Doors().vectorize(3)
    _, state = env.reset(jax.random.key(0), None)
    step, doors = jax.jit(env.step), []
    for number in range(4 * example.EPISODES):
        doors.append(state[0])
        _, state, reward, *_ = step(jax.random.key(number), state, state[0], None)
        assert (reward == (number + 1) % 2).all(), "paid at the first of the two steps"
    trials = jnp.stack(doors).reshape(2, -1, 3)
    assert (trials == trials[:, :1]).all(), "the same door all along"
    assert (trials[0, 0] != trials[1, 0]).any(), "and another in the next trial"


def test_pixels_are_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("atari_from_pixels", monkeypatch)
    small = {"total_steps": 16, "features": 4, "num_envs": 2, "num_steps": 8}
    folder = example.main(environment="tests.test_examples:Flash", folder=tmp_path / "run", **small)
    assert load_run(folder).step == 16


def test_a_server_keeps_sessions_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    example, agent = load("serve_policy", monkeypatch), small_agent()
    program = program_of(agent, agent.init(jax.random.key(3))[1])
    policy, alone = Policy(program), Policy(program)
    with example.make_server(policy, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def ask(**body: Any) -> Any:
            url = f"http://127.0.0.1:{server.server_port}/act"
            with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as answer:
                return json.load(answer)["action"]

        cards = [3, 0, 1, 2, 2, 0, 3, 1]
        expected = [int(alone(card, 0.5, number == 0)) for number, card in enumerate(cards)]
        found = []
        for number, card in enumerate(cards):
            found.append(ask(session="ann", observation=card, reward=0.5, done=number == 0))
            ask(session="bob", observation=0, reward=-1.0)  # who has nothing to do with it
        assert found == expected
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(session="ann", observation=[[1, 2], [3]])
        server.shutdown()
