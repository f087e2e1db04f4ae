"""Settings as the command that trains with them."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from memorax.training.config import OPTIONS, TrainConfig
from memorax.training.options import format_options

OTHER_FLAGS = {"imports": "import"}


def command_line(config: TrainConfig) -> str:
    """The words of `memorax train` that give a config: all settings that are not the defaults."""
    words = ["memorax", "train"]
    words += _flags(config, TrainConfig(), True)
    words += _flags(config.hyperparameters, type(config.hyperparameters)(), False)
    return shlex.join(words)


def _flags(settings: Any, defaults: Any, of_run: bool) -> list[str]:
    words: list[str] = []
    for field in dataclasses.fields(settings):
        value, default = getattr(settings, field.name), getattr(defaults, field.name)
        if field.name == "hyperparameters" or value == default:
            continue
        flag = OTHER_FLAGS.get(field.name, field.name).replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif of_run and field.name in OPTIONS:
            words += [f"--{flag}", *format_options(value)]
        elif isinstance(value, tuple | list):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
    return words
