from __future__ import annotations

import dataclasses
import json

import pytest

from memorax.algorithms import DQN, PPO, DQNConfig, PPOConfig
from memorax.training import TrainConfig, build_agent
from memorax.training.config import config_from_json, config_to_json
from memorax.training.options import format_options, parse_options
from tests.training.small import CONFIG


def test_config_survives_json() -> None:
    config = dataclasses.replace(CONFIG, environment_options={"mask_observation": (0, 2)})
    restored = config_from_json(json.loads(json.dumps(config_to_json(config))), "here")
    assert restored == dataclasses.replace(config, environment_options={"mask_observation": [0, 2]})


def test_unknown_and_missing_settings_are_named() -> None:
    settings = config_to_json(CONFIG)
    with pytest.raises(ValueError, match="here has unknown settings of TrainConfig: colour"):
        config_from_json(settings | {"colour": 1}, "here")
    with pytest.raises(ValueError, match="here has unknown settings of PPOConfig: colour"):
        config_from_json(settings | {"hyperparameters": settings["hyperparameters"] | {"colour": 1}}, "here")
    del settings["torso"]
    with pytest.raises(ValueError, match="here lacks settings of TrainConfig: torso"):
        config_from_json(settings, "here")


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="unknown algorithm 'pppo': did you mean 'ppo'"):
        TrainConfig(algorithm="pppo")
    with pytest.raises(ValueError, match="unknown torso 'gruu': did you mean 'gru'"):
        TrainConfig(torso="gruu")
    with pytest.raises(ValueError, match=r"total_steps \(-5\)"):
        TrainConfig(total_steps=-5)
    with pytest.raises(ValueError, match=r"hyperparameters \(DQNConfig\) must be a PPOConfig for 'ppo'"):
        TrainConfig(hyperparameters=DQNConfig())


def test_hyperparameters_default_to_those_of_the_algorithm() -> None:
    assert TrainConfig(algorithm="ppo").hyperparameters == PPOConfig()
    assert TrainConfig(algorithm="dqn").hyperparameters == DQNConfig()


def test_builds_the_agent_that_is_described() -> None:
    agent = build_agent(dataclasses.replace(CONFIG, previous_action=True, previous_reward=True, episode_start=True))
    assert isinstance(agent, PPO)
    assert agent.cfg is CONFIG.hyperparameters
    extractor = agent.actor_network.feature_extractor
    assert None not in (extractor.action_extractor, extractor.reward_extractor, extractor.done_extractor)
    assert build_agent(CONFIG).actor_network.feature_extractor.done_extractor is None
    assert isinstance(build_agent(TrainConfig(algorithm="dqn", features=4)), DQN)


def test_options_are_python_values_or_text() -> None:
    options = {"limit": 200, "mask_observation": (0, 2), "kind": "easy", "slippery": True}
    assert parse_options(["limit=200", "mask_observation=(0,2)", "kind=easy", "slippery=True"]) == options
    assert parse_options(format_options(options)) == options
    with pytest.raises(ValueError, match="environment option 'limit' must be NAME=VALUE"):
        parse_options(["limit"])
