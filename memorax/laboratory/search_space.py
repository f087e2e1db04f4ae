"""What a sweep may choose from, for each setting or hyperparameter."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memorax.parts import suggest
from memorax.training.config import TrainConfig
from memorax.training.options import parse_value


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; on a logarithmic scale where `log` says so."""

    low: float
    high: float
    log: bool = False

    def draw(self, trial: Any, name: str) -> Any:
        """The value that a trial of Optuna has for it; whole where both ends are."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def draw(self, trial: Any, name: str) -> Any:
        """The value that a trial of Optuna has for it."""
        return trial.suggest_categorical(name, self.values)


Space = Range | Choice

USUAL: Mapping[str, Space] = {
    "learning_rate": Range(1e-5, 1e-2, log=True),
    "ent_coef": Range(1e-4, 1e-1, log=True),
    "gamma": Choice((0.9, 0.95, 0.98, 0.99, 0.995, 0.999)),
    "gae_lambda": Range(0.8, 1.0),
    "td_lambda": Range(0.0, 1.0),
}
"""What is usual for names that many algorithms have; a sweep that is told nothing else searches these."""


def search_space(config: TrainConfig, words: Sequence[str] = ()) -> dict[str, Space]:
    """Read a search space.

    Args:
        config: the settings that are varied.
        words: for each setting or hyperparameter NAME=LOW..HIGH, NAME=log:LOW..HIGH, NAME=VALUE,VALUE,... or NAME alone
            for the values around its default; by default the names of `USUAL` that the algorithm has.

    Raises:
        ValueError: if a name does not exist, or its values cannot be read.
    """
    own = {field.name: field for field in dataclasses.fields(config.hyperparameters)}
    known = [field.name for field in dataclasses.fields(TrainConfig) if field.name != "hyperparameters"]
    names = [*known, *own]
    spaces: dict[str, Space] = {}
    for word in words or [name for name in USUAL if name in names]:
        name, separator, text = word.partition("=")
        name = name.replace("-", "_")
        if name not in names:
            raise ValueError(
                f"search has an unknown setting {name!r}{suggest(name, names)}: neither a setting of a run nor a "
                f"hyperparameter of {config.algorithm}"
            )
        default = getattr(config.hyperparameters if name in own else config, name)
        spaces[name] = _read(name, text) if separator else _around(name, default)
    return spaces


def with_values(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """A config with other values of settings and hyperparameters.

    Raises:
        ValueError: if they do not fit together.
    """
    own = {field.name for field in dataclasses.fields(config.hyperparameters)}
    hyperparameters = dataclasses.replace(
        config.hyperparameters, **{name: value for name, value in values.items() if name in own}
    )
    others = {name: value for name, value in values.items() if name not in own}
    return dataclasses.replace(config, **{**others, "hyperparameters": hyperparameters})


def _around(name: str, default: Any) -> Space:
    """The usual values of a name, or those around its default."""
    if name in USUAL:
        return USUAL[name]
    if isinstance(default, bool):
        return Choice((False, True))
    if isinstance(default, int) and default > 1:
        return Choice((default // 2, default, default * 2))
    if isinstance(default, float) and default > 0:
        return Range(default / 10, min(default * 10, 1.0) if default <= 1 else default * 10, log=True)
    raise ValueError(f"search needs values for {name}, such as {name}=0.1..0.9, {name}=log:1e-4..1e-1 or {name}=1,2,3")


def _read(name: str, text: str) -> Space:
    if ".." not in text:
        return Choice(tuple(parse_value(word) for word in text.split(",")))
    log = text.startswith("log:")
    low, high = (parse_value(word) for word in text.removeprefix("log:").split("..", 1))
    numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in (low, high))
    if not numbers or low >= high or (log and low <= 0):
        raise ValueError(
            f"search {name}={text} must be NAME=LOW..HIGH with LOW < HIGH, or NAME=log:LOW..HIGH with 0 < LOW < HIGH"
        )
    return Range(low, high, log)
