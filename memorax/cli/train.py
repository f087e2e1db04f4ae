"""`memorax train`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from memorax.algorithms import ALGORITHMS
from memorax.loggers import Row
from memorax.training import TrainConfig, run_config
from memorax.training.config import look_up

DEFAULT_ALGORITHM = "ppo"
COMMAND = """What the command takes.

Attributes:
    config: the settings.
    folder: the run folder; by default one in runs/ named after the settings and the time.
"""


def main(arguments: list[str]) -> int:
    """Train an agent in a new run folder."""
    config, folder = parse(arguments)
    path, result = run_config(config, folder)
    report(path, result.metrics)
    return 0


def parse(arguments: list[str]) -> tuple[TrainConfig, Path | None]:
    """Read the settings; which there are depends on the algorithm, whose hyperparameters are flags of their own.

    Returns:
        The config, and the run folder if one is given.

    Raises:
        ValueError: if a setting is not valid.
    """
    algorithm = algorithm_named(arguments)
    _, config_class = look_up("algorithm", algorithm, ALGORITHMS)
    hyperparameters = unchecked(config_class)
    settings = unchecked(TrainConfig, hyperparameters=hyperparameters)
    defaults = settings(hyperparameters(), algorithm=algorithm)
    command = dataclasses.make_dataclass(
        "Command",
        [("config", settings, defaults), ("folder", Path | None, None)],
        namespace={"__doc__": COMMAND},
        frozen=True,
    )
    given: Any = tyro.cli(
        command,
        prog="memorax train",
        description=f"Train an agent. These are the settings with --algorithm {algorithm}; each has its own.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    chosen = config_class(**vars(given.config.hyperparameters))
    return TrainConfig(**{**vars(given.config), "hyperparameters": chosen}), given.folder


def algorithm_named(arguments: list[str]) -> str:
    """The value of `--algorithm`."""
    for index, word in enumerate(arguments):
        if word.startswith("--algorithm="):
            return word.partition("=")[2]
        if word == "--algorithm" and index + 1 < len(arguments):
            return arguments[index + 1]
    return DEFAULT_ALGORITHM


def unchecked(config_class: type, **types: type) -> type:
    """A dataclass like another one that accepts any value, so that it is the config itself that refuses.

    Args:
        config_class: the other one.
        types: those of fields, in place of their own.
    """
    hints = typing.get_type_hints(config_class, include_extras=True) | types
    fields = [
        (
            field.name,
            hints[field.name],
            dataclasses.field(default=field.default, default_factory=field.default_factory),
        )
        for field in dataclasses.fields(config_class)
    ]
    return dataclasses.make_dataclass(
        config_class.__name__, fields, namespace={"__doc__": config_class.__doc__}, frozen=True
    )


def report(folder: Path, rows: Sequence[Row]) -> None:
    """Say how it went and where everything is."""
    if not rows:
        print("the run was complete already: --total-steps trains it for longer")
    returns = [row["evaluation_return"] for row in rows if "evaluation_return" in row]
    if returns:
        print(f"evaluation return {sum(returns) / len(returns):.4g}, mean over {len(returns)} seed(s)")
    print(f"everything is in {folder}")
