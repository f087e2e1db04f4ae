"""`memorax train`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from memorax.algorithms import ALGORITHMS
from memorax.cli.arguments import check_options
from memorax.loggers import Row
from memorax.training import TrainConfig, run_config
from memorax.training.config import look_up

DEFAULT_ALGORITHM = "ppo"
COMMAND = """What `memorax train` takes.

Attributes:
    config: Settings of the run.
    folder: Folder of the run. Default: one in runs/ named after the settings and the time.
"""


def main(arguments: list[str]) -> int:
    """Train an agent in a new run folder."""
    config, folder = parse(arguments)
    path, result = run_config(config, folder)
    report(path, result.metrics)
    return 0


def parse(arguments: list[str]) -> tuple[TrainConfig, Path | None]:
    """Read the settings of a run; the hyperparameters of its algorithm are options as well.

    Returns:
        The config, and the run folder if one is given.

    Raises:
        ValueError: if a setting is not valid.
    """
    algorithm = algorithm_named(arguments)
    _, config_class = look_up("algorithm", algorithm, ALGORITHMS)
    _check_options(arguments, algorithm, config_class)
    hyperparameters = unchecked(config_class)
    # The names are titles of the help.
    settings = unchecked(TrainConfig, hyperparameters=Annotated[hyperparameters, tyro.conf.arg(name=algorithm)])
    defaults = settings(hyperparameters(), algorithm=algorithm)
    command = dataclasses.make_dataclass(
        "Command",
        [("config", Annotated[settings, tyro.conf.arg(name="run")], defaults), ("folder", Path | None, None)],
        namespace={"__doc__": COMMAND},
        frozen=True,
    )
    given: Any = tyro.cli(
        command,
        prog="memorax train",
        description=f"Train an agent. The options are those of --algorithm {algorithm}; other algorithms have others.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    chosen = config_class(**vars(given.config.hyperparameters))
    return TrainConfig(**{**vars(given.config), "hyperparameters": chosen}), given.folder


def _check_options(arguments: Sequence[str], algorithm: str, config_class: type) -> None:
    """Check that every option exists for the algorithm, and say where it is another algorithm's."""
    settings = [field.name for field in dataclasses.fields(TrainConfig) if field.name != "hyperparameters"]
    own = [field.name for field in dataclasses.fields(config_class)]
    try:
        check_options("train", arguments, [*settings, *own, "folder"])
    except ValueError as error:
        given = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in arguments}
        for other, (_, other_class) in ALGORITHMS.items():
            for field in dataclasses.fields(other_class):
                if field.name in given - {*settings, *own}:
                    option = field.name.replace("_", "-")
                    raise ValueError(f"--{option} is an option of --algorithm {other}, not of {algorithm}") from error
        raise


def algorithm_named(arguments: list[str]) -> str:
    """The value of `--algorithm`."""
    for index, word in enumerate(arguments):
        if word.startswith("--algorithm="):
            return word.partition("=")[2]
        if word == "--algorithm" and index + 1 < len(arguments):
            return arguments[index + 1]
    return DEFAULT_ALGORITHM


def unchecked(config_class: type, **types: Any) -> type:
    """A dataclass like another one that accepts any value, so that it is the config itself that refuses.

    Args:
        config_class: the dataclass that is copied.
        types: types of fields, by their names, in place of their own.
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
    """Print the mean return of the last evaluation and the folder of the run."""
    if not rows:
        print("the run was complete already: --total-steps trains it for longer")
    returns = [row["evaluation_return"] for row in rows if "evaluation_return" in row]
    if returns:
        print(f"evaluation return {sum(returns) / len(returns):.4g}, mean over {len(returns)} seed(s)")
    print(f"everything is in {folder}")
