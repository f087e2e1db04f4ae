"""An LSTM plays Atari from single frames, where others stack four: how the ball moves it has to remember.

Needs the extra `ale`, whose package is under the GPL. Pong takes some ten million steps, hours on a CPU; that was not
measured here, only that it learns from pixels. `python examples/atari_from_pixels.py --environment ale::pong`
"""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.algorithms import PPOConfig
from memorax.training import TrainConfig, run_config


def main(
    total_steps: int = 10_000_000,
    environment: str = "ale::pong",
    torso: str = "lstm",
    features: int = 256,
    num_envs: int = 8,
    num_steps: int = 128,
    folder: Path | None = None,
) -> Path:
    """Train in a run folder, and return it; `memorax resume`, `evaluate`, `render` and `plot` go on from there.

    Args:
        total_steps: Environment steps, each of four frames.
        environment: Id of an environment whose observations are pictures.
        torso: Name of the memory.
        features: Width of the encoder's last layer and of the memory.
        num_envs: Games side by side.
        num_steps: Steps in each between two updates.
        folder: Folder of the run. Default: one in runs/ named after the settings and the time.
    """
    config = TrainConfig(
        environment=environment,
        algorithm="shared_ppo",  # one encoder and one memory for actor and critic: convolutions are dear
        hyperparameters=PPOConfig(
            num_envs=num_envs, num_steps=num_steps, num_minibatches=min(4, num_envs), clip_coef=0.1, ent_coef=0.01
        ),
        torso=torso,
        features=features,
        previous_action=True,
        previous_reward=True,
        learning_rate=2.5e-4,
        anneal_lr=True,
        total_steps=total_steps,
        evaluation_steps=num_envs * 1024,
    )
    folder, _ = run_config(config, folder)
    print(f"`memorax render {folder}` draws what it learned")
    return folder


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except ImportError as error:  # says which package is missing, and the command that installs it
        raise SystemExit(f"error: {error}") from error
