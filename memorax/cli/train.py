"""`memorax train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tyro

from memorax.algorithms import ALGORITHMS
from memorax.training import TrainConfig, run_config
from memorax.training.config import look_up

DEFAULT_ALGORITHM = "ppo"


def main(arguments: list[str]) -> int:
    """Train an agent in a new run folder."""
    config, folder = parse(arguments)
    path, result = run_config(config, folder)
    report(path, result.metrics)
    return 0


def parse(arguments: list[str]) -> tuple[TrainConfig[Any], Path | None]:
    """Read the settings; which there are depends on the algorithm, whose hyperparameters are flags of their own.

    Raises:
        ValueError: if a setting is not valid.
    """
    algorithm = algorithm_named(arguments)
    _, config_class = look_up("algorithm", algorithm, ALGORITHMS)

    def settings(config: Any = TrainConfig(algorithm=algorithm), folder: Path | None = None) -> Any:
        """Read them.

        Args:
            folder: the run folder; by default one in runs/ named after the settings and the time.
        """
        return config, folder

    # The type of the hyperparameters is known only now.
    settings.__annotations__["config"] = TrainConfig[config_class]  # type: ignore[valid-type]
    return tyro.cli(
        settings,
        prog="memorax train",
        description=f"Train an agent. These are the settings for --algorithm {algorithm}; each algorithm has its own.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagConversionOff),
    )


def algorithm_named(arguments: list[str]) -> str:
    """The value of `--algorithm`."""
    for index, word in enumerate(arguments):
        if word.startswith("--algorithm="):
            return word.partition("=")[2]
        if word == "--algorithm" and index + 1 < len(arguments):
            return arguments[index + 1]
    return DEFAULT_ALGORITHM


def report(folder: Path, rows: list[dict[str, float | int]]) -> None:
    """Say where everything is."""
    if rows:
        returns = [row["evaluation_return"] for row in rows]
        print(f"evaluation return {sum(returns) / len(returns):.4g}, mean over {len(returns)} seed(s)")
    print(f"everything is in {folder}", file=sys.stdout)
