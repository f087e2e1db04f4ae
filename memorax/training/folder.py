"""The folder of a run: config, metrics, checkpoints."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memorax.evaluation.runs import CONFIG_FILE, read_config
from memorax.training.config import TrainConfig, config_from_json
from memorax.version import __version__


def default_folder(config: TrainConfig) -> Path:
    """`runs/<environment>-<algorithm>-<torso>-<date>-<time>`, not yet made."""
    environment = re.sub(r"[^\w.]+", "-", config.environment)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{environment}-{config.algorithm}-{config.torso}-{now}"


def checkpoints_folder(folder: Path) -> Path:
    """Where a run's checkpoints lie."""
    return folder / "checkpoints"


def create_folder(folder: Path) -> None:
    """Make the folder of a new run.

    Raises:
        ValueError: if there is a run in it, or if it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder ({folder}) is a file: choose another folder")
    if (folder / CONFIG_FILE).exists():
        raise ValueError(
            f"folder ({folder}) holds another run: go on with it by `memorax resume {folder}`, or choose another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)


def write_config(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write a run's settings, whole or not at all."""
    unfinished = folder / f"{CONFIG_FILE}.unfinished"
    unfinished.write_text(json.dumps({"memorax": __version__, "config": dict(settings)}, indent=2) + "\n")
    os.replace(unfinished, folder / CONFIG_FILE)


def open_folder(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder, as JSON holds them.

    Raises:
        ValueError: if there is no run in it, or one of another version.
    """
    content = read_config(folder)
    if content.get("memorax") != __version__:
        raise ValueError(
            f"{folder / CONFIG_FILE} was written by memorax {content.get('memorax')}, this is {__version__}: "
            "go on with it in a checkout of that version"
        )
    return content["config"]


def load_config(folder: Path) -> TrainConfig:
    """The config of the run in a folder.

    Raises:
        ValueError: if there is no run in it, if its config is of another version, or if its agent was made by hand.
    """
    settings = open_folder(folder)
    if "hyperparameters" not in settings:
        raise ValueError(
            f"{folder} holds a run whose agent was made in Python: go on with it by "
            f"`memorax.training.train(agent, ..., folder={str(folder)!r}, resume=True)`"
        )
    return config_from_json(settings, str(folder / CONFIG_FILE))
