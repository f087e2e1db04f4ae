"""Presets: each builds an agent, and its curve reaches what it claims."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from memorax.algorithms import PQNConfig
from memorax.cli import main
from memorax.cli.train import parse
from memorax.environments import registered
from memorax.laboratory.presets import CURVES, PRESETS, find_preset, load_preset
from memorax.training import build_agent
from memorax.training.config import config_from_json, config_to_json

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_builds_an_agent(name: str) -> None:
    config = PRESETS[name].config
    suite = config.environment.partition("::")[0]
    if isinstance(registered()[suite], str):
        pytest.skip(f"{suite} is not installed")
    assert build_agent(config).cfg == config.hyperparameters
    settings = config_to_json(config)
    assert config_to_json(config_from_json(settings, name)) == settings


@pytest.mark.parametrize("name", PRESETS)
def test_its_curve_reaches_what_it_claims(name: str) -> None:
    preset = PRESETS[name]
    curve = np.genfromtxt(ROOT / CURVES / f"{name}.csv", delimiter=",", skip_header=1)
    assert curve[-1, 1:].mean() == pytest.approx(preset.reached, rel=1e-3)
    # A run ends with a whole iteration, and a curve with a whole interval between evaluations.
    assert preset.config.total_steps <= curve[-1, 0] < 1.1 * preset.config.total_steps
    assert curve.shape[1] >= 4, "at least three seeds"


def test_it_is_found_by_its_name_or_its_task() -> None:
    maze = PRESETS["ppo_gru_tmaze"].config
    assert parse(["--preset", "ppo_gru_tmaze"]).config == maze
    assert parse(["--preset", "--environment", "memory::TMaze", "--algorithm", "ppo"]).config == maze
    changed = parse(["--environment", "memory::TMaze", "--algorithm=ppo", "--gamma", "0.9", "--preset"]).config
    assert changed == dataclasses.replace(maze, hyperparameters=dataclasses.replace(maze.hyperparameters, gamma=0.9))
    assert load_preset(find_preset("popgym::RepeatPreviousEasy", torso="lru")).algorithm == "r2d2"
    with pytest.raises(
        ValueError, match=r"several presets for environment memory::TMaze: name one of ppo_gru_tmaze, dqn_gru_tmaze"
    ):
        find_preset("memory::TMaze")
    with pytest.raises(ValueError, match=r"no preset for environment memory::TMaze, torso lru: .*there are ppo_gru_"):
        find_preset("memory::TMaze", torso="lru")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "ppo_gru_tmaz"], "unknown preset 'ppo_gru_tmaz': did you mean 'ppo_gru_tmaze'"),
        (["--preset"], "--preset needs a name, or --environment"),
        (["--preset", "ppo_cartpole", "--config", "a.yaml"], "leave one of them out"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "presets", "mappo"]) == 0
    words = ("jaxmarl::MPE_simple_spread_v3 global_state=True", "return -17.72", "docs/results/mappo_gru_spread.csv")
    listed = capsys.readouterr().out
    assert all(word in listed for word in words)


def test_what_is_changed_of_a_preset_leaves_the_rest() -> None:
    pole = load_preset("dqn_cartpole")
    options = parse(["--preset", "dqn_cartpole", "--environment-options", "max_steps_in_episode=200"]).config
    assert options.environment_options == {**pole.environment_options, "max_steps_in_episode": 200}
    elsewhere = parse(
        ["--preset", "dqn_cartpole", "--environment", "memory::TMaze", "--environment-options", "length=5"]
    )
    assert elsewhere.config.environment_options == {"length": 5}
    first = load_preset("ppo_gru_tmaze").hyperparameters
    other = parse(["--preset", "ppo_gru_tmaze", "--algorithm", "pqn"]).config.hyperparameters
    assert isinstance(other, PQNConfig)
    assert (
        (other.gamma, other.num_steps) == (first.gamma, first.num_steps) != (PQNConfig().gamma, PQNConfig().num_steps)
    )
