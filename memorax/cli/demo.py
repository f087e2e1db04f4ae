"""`memorax demo`."""

from __future__ import annotations

import datetime
from pathlib import Path

from memorax.algorithms import PPOConfig
from memorax.cli.arguments import call_command
from memorax.evaluation.plot import plot_runs
from memorax.training import TrainConfig, run_config
from memorax.training.devices import cores_to_devices
from memorax.training.run import LEARNING_CURVE

TORSOS = ("gru", "mlp")


def demo_config(torso: str) -> TrainConfig:
    """The settings of the demonstration: name the card that was shown three steps ago."""
    return TrainConfig(
        environment="popgym::RepeatPreviousEasy",
        algorithm="ppo",
        hyperparameters=PPOConfig(num_envs=16, num_steps=128),
        torso=torso,
        learning_rate=1e-3,
        total_steps=300_000,
        num_seeds=5,
    )


def main(arguments: list[str]) -> int:
    """Train PPO with and without memory on a task that needs it, and draw both learning curves."""

    def command(folder: Path | None = None) -> None:
        """Train PPO with and without memory on a task that needs it, and draw both learning curves.

        Args:
            folder: Folder for both runs and the picture. Default: one in runs/ named after the time.
        """
        cores_to_devices()
        path = folder or Path("runs") / f"demo-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        runs = [run_config(demo_config(torso), path / torso) for torso in TORSOS]
        for torso, (_, result) in zip(TORSOS, runs, strict=True):
            returns = [row["evaluation_return"] for row in result.metrics]
            print(f"{torso}: evaluation return {sum(returns) / len(returns):.3f}, mean over {len(returns)} seeds")
        print(plot_runs([run for run, _ in runs], path / LEARNING_CURVE))

    return call_command(command, "demo", arguments)
