"""Presets: settings that were found for a task, each with the learning curve that justifies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from memorax.algorithms import ACLambdaConfig, DQNConfig, PPOConfig, PQNConfig, R2D2Config, SACConfig
from memorax.networks import heads
from memorax.parts import suggest
from memorax.training.config import TrainConfig
from memorax.training.options import format_options

CURVES = "docs/results"
"""The folder of the curves in the repository: `NAME.csv` has the evaluations of each seed of a preset."""


@dataclass(frozen=True)
class Preset:
    """Settings that were found for a task.

    Attributes:
        config: The settings; `total_steps` is the budget of the curve.
        reached: Mean return over seeds of the last evaluation of the curve.
    """

    config: TrainConfig
    reached: float


def load_preset(name: str) -> TrainConfig:
    """The settings of a preset.

    Raises:
        ValueError: if there is no preset of this name.
    """
    if name not in PRESETS:
        close = suggest(name, PRESETS) or ": `memorax list presets` shows those there are"
        raise ValueError(f"unknown preset {name!r}{close}")
    return PRESETS[name].config


def find_preset(environment: str, algorithm: str | None = None, torso: str | None = None) -> str:
    """The name of the preset for an environment.

    Args:
        environment: id of the environment.
        algorithm: name of the algorithm; by default any.
        torso: name of the torso; by default any.

    Raises:
        ValueError: if there is none, or more than one.
    """
    wanted = {"environment": environment, "algorithm": algorithm, "torso": torso}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    found = [
        name
        for name, preset in PRESETS.items()
        if all(getattr(preset.config, setting) == value for setting, value in wanted.items())
    ]
    if len(found) == 1:
        return found[0]
    what = ", ".join(f"{setting} {value}" for setting, value in wanted.items())
    if found:
        raise ValueError(f"there are several presets for {what}: name one of {', '.join(found)}")
    of_environment = [name for name, preset in PRESETS.items() if preset.config.environment == environment]
    others = f"for this environment there are {', '.join(of_environment)}" if of_environment else ""
    raise ValueError(f"there is no preset for {what}: {others or '`memorax list presets` shows those there are'}")


def describe_presets() -> dict[str, str]:
    """By name, what each preset is for, the return it reached and where its curve is."""
    described = {}
    for name, preset in PRESETS.items():
        config = preset.config
        task = " ".join([config.environment, *format_options(config.environment_options)])
        reached = f"return {preset.reached:.4g} after {config.total_steps:,} steps"
        described[name] = f"{task}, {config.algorithm}, {config.torso}: {reached}, {CURVES}/{name}.csv"
    return described


def narrow_twin(head: nn.Module) -> nn.Module:
    """Twin values with two hidden layers of 64 features, enough for small tasks; any other head as it is."""
    return heads.Twin(head.head.clone(hidden_features=(64, 64))) if isinstance(head, heads.Twin) else head


def _tmaze(algorithm: str, hyperparameters: Any, **settings: Any) -> Preset:
    """The T-maze with a corridor of ten steps."""
    config = TrainConfig(
        hyperparameters=hyperparameters,
        environment="memory::TMaze",
        algorithm=algorithm,
        torso="gru",
        **{"learning_rate": 1e-3, "total_steps": 300_000, **settings},
    )
    return Preset(config, 1.0)


def _repeat_previous(torso: str) -> Preset:
    """Name the card seen three steps before."""
    config = TrainConfig(
        hyperparameters=R2D2Config(
            num_envs=16,
            num_steps=20,
            gamma=0.0,  # an action changes nothing but its own reward
            n_steps=1,
            num_updates=8,
            learning_starts=5_000,
            sequence_length=20,
            burn_in=10,
            period=10,
            target_update_period=100,
        ),
        environment="popgym::RepeatPreviousEasy",
        environment_options={"scale_reward": 25.0},  # the rewards of an episode add up to 1
        algorithm="r2d2",
        torso=torso,
        learning_rate=2e-3,
        max_grad_norm=10.0,
        total_steps=300_000,
    )
    return Preset(config, 1.0)


def _spread(algorithm: str, reached: float, hyperparameters: PPOConfig, learning_rate: float, **options: Any) -> Preset:
    """Three agents spread over three landmarks; returns are per agent, a third of what JaxMARL's logs add up."""
    config = TrainConfig(
        hyperparameters=hyperparameters,
        environment="jaxmarl::MPE_simple_spread_v3",
        environment_options=options,
        algorithm=algorithm,
        learning_rate=learning_rate,
        anneal_lr=True,
        total_steps=600_000,
    )
    return Preset(config, reached)


def _sac(environment: str, reached: float, total_steps: int, torso: str, **settings: Any) -> Preset:
    """Recurrent SAC from sequences of 16 steps, an update for every fourth environment step, or as settings say."""
    options = settings.pop("environment_options", {})
    hyperparameters = {"num_envs": 4, "num_steps": 8, "num_updates": 8, "batch_size": 32, "sequence_length": 16}
    config = TrainConfig(
        environment=environment,
        environment_options=options,
        algorithm="sac",
        hyperparameters=SACConfig(**{**hyperparameters, **settings}),
        torso=torso,
        head="memorax.laboratory.presets:narrow_twin",
        previous_action="mask_observation" in options,
        learning_rate=1e-3,
        max_grad_norm=10.0,
        total_steps=total_steps,
    )
    return Preset(config, reached)


LATE_REWARDS: dict[str, Any] = {"num_envs": 8, "learn_temperature": False, "temperature": 0.02}
"""Where rewards are late, a fixed temperature does better."""

_CARTPOLE: dict[str, Any] = {
    "environment": "gymnax::CartPole-v1",
    "environment_options": {"scale_reward": 0.1},
    "torso": "mlp",
}

_TMAZE_REPLAY: dict[str, Any] = {
    "num_envs": 16,
    "num_steps": 12,
    "gamma": 0.98,
    "num_updates": 6,
    "learning_starts": 5_000,
    "target_update_period": 100,
    "buffer_size": 50_000,
    "sequence_length": 24,
}

PRESETS: Mapping[str, Preset] = {
    "ac_lambda_rtu_memory_chain_30": Preset(
        TrainConfig(
            hyperparameters=ACLambdaConfig(trace_lambda=0.0, ent_coef=0.1),
            environment="gymnax::MemoryChain-bsuite",
            environment_options={"memory_length": 30},
            algorithm="ac_lambda",
            torso="rtu",
            # Units that forget little and turn at many speeds: what every step adds cancels, and the bit stands out.
            torso_options={"rtrl": True, "linear": True, "r_min": 0.95, "r_max": 0.999},
            features=32,
            optimizer="adam",
            learning_rate=3e-4,
            anneal_lr=True,
            total_steps=100_000,
        ),
        1.0,
    ),
    "ppo_cartpole": Preset(
        TrainConfig(
            **_CARTPOLE,
            algorithm="ppo",
            hyperparameters=PPOConfig(num_envs=8, num_steps=128, update_epochs=10, ent_coef=0.0),
            learning_rate=1e-3,
            total_steps=200_000,
        ),
        500.0,
    ),
    "dqn_cartpole": Preset(
        TrainConfig(
            **_CARTPOLE,
            algorithm="dqn",
            hyperparameters=DQNConfig(
                num_envs=8,
                num_steps=2,
                num_updates=4,
                batch_size=64,
                sequence_length=1,
                buffer_size=50_000,
                learning_starts=2_000,
                target_update_period=500,
                exploration_steps=30_000,
                epsilon_end=0.02,
            ),
            learning_rate=5e-4,
            max_grad_norm=10.0,
            total_steps=300_000,
        ),
        500.0,
    ),
    "pqn_cartpole": Preset(
        TrainConfig(
            **_CARTPOLE,
            algorithm="pqn",
            hyperparameters=PQNConfig(num_envs=16, num_steps=64, q_lambda=0.95, exploration_steps=60_000),
            features=128,
            optimizer="radam",
            learning_rate=1e-3,
            anneal_lr=True,
            max_grad_norm=10.0,
            total_steps=300_000,
        ),
        500.0,
    ),
    "ippo_gru_spread": _spread(
        "ippo",
        -19.08,
        PPOConfig(num_envs=16, num_steps=128, num_minibatches=2, clip_coef=0.3, ent_coef=0.01, vf_coef=1.0),
        learning_rate=1e-3,
    ),
    "mappo_gru_spread": _spread(
        "mappo",
        -17.72,
        PPOConfig(num_envs=16, num_steps=128, num_minibatches=4, clip_coef=0.2, ent_coef=0.01),
        learning_rate=2e-3,
        global_state=True,
    ),
    "ppo_gru_tmaze": _tmaze(
        "ppo", PPOConfig(num_envs=16, num_steps=66, gamma=0.98, num_minibatches=4, ent_coef=0.03), anneal_lr=True
    ),
    "dqn_gru_tmaze": _tmaze("dqn", DQNConfig(**_TMAZE_REPLAY, exploration_steps=60_000)),
    "r2d2_gru_tmaze": _tmaze("r2d2", R2D2Config(**_TMAZE_REPLAY, burn_in=12, period=12)),
    "pqn_gru_tmaze": _tmaze("pqn", PQNConfig(num_envs=16, num_steps=33, gamma=0.98, exploration_steps=100_000)),
    "r2d2_lstm_repeat_previous": _repeat_previous("lstm"),
    "r2d2_lru_repeat_previous": _repeat_previous("lru"),
    "sac_mlp_pendulum": _sac(
        *("gymnax::Pendulum-v1", -145.3, 15_000, "mlp"), num_steps=4, num_updates=16, batch_size=64, sequence_length=1
    ),
    "sac_gru_position_only_pendulum": _sac(
        # Without its angular velocity.
        *("gymnax::Pendulum-v1", -155.4, 30_000, "gru"),
        environment_options={"mask_observation": (0, 1)},
        gamma=0.95,
    ),
    "sac_gru_repeat_previous": _sac("popgym::RepeatPreviousEasy", 1.0, 40_000, "gru", gamma=0.9, **LATE_REWARDS),
    "sac_gru_tmaze": _sac("memory::TMaze", 1.0, 40_000, "gru", gamma=0.97, **LATE_REWARDS),
    "pqn_gru_memory_chain": Preset(
        TrainConfig(
            environment="gymnax::MemoryChain-bsuite",
            environment_options={"memory_length": 30},
            algorithm="pqn",
            hyperparameters=PQNConfig(num_envs=16, num_steps=64, q_lambda=0.95, exploration_steps=100_000),
            torso="gru",
            features=64,
            optimizer="radam",
            learning_rate=1e-3,
            max_grad_norm=10.0,
            total_steps=500_000,
        ),
        1.0,
    ),
}
"""Every preset, by its name; `memorax train --preset NAME` trains with it."""
