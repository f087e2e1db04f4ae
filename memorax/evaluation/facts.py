"""What a run says of itself beside its metrics, in `config.json`, and the kind that each of these facts has."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from memorax.evaluation.runs import CONFIG_FILE, read_config

Kind = tuple[Callable[[Any], bool], str]
"""Whether a value is of the kind, and what it must be, in words."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_one, value))


def _is_origin(value: Any) -> bool:
    """Whether it says where a run comes from, as far as that is read again; see `memorax.training.origin`."""
    if not isinstance(value, dict) or not isinstance(value.get("versions", {}), dict):
        return False
    return all(isinstance(value.get(name), str | None) for name in ("random_keys", "device"))


BY_NAME: Kind = (_is_mapping, "facts by name, {...}")
NUMBER: Kind = (_is_number, "a number")
FACTS: Mapping[str, Kind] = {
    "id": (_is_text, "text"),
    "name": (_is_text, "text"),
    "seed": (_is_count, "a whole number, 0 or more"),
    "num_seeds": (lambda value: _is_count(value) and value > 0, "a whole number, 1 or more"),
    "total_steps": (_is_count, "a whole number, 0 or more"),
    "tags": (_is_list(_is_text), "a list of texts"),
    "parameters": (lambda value: _is_mapping(value) and all(map(_is_number, value.values())), "numbers by name"),
    "interface": BY_NAME,
    "interface.wrappers": BY_NAME,
    "agent": BY_NAME,
    "origin": (_is_origin, "facts by name, with texts for random_keys and device and, under versions, those by name"),
    "resumed": (_is_list(_is_origin), "a list of facts by name, [{...}]"),
}
"""What a run says of itself beside its settings. A part comes after what it is a part of."""

SETTINGS: Mapping[str, Kind] = {"config.hyperparameters": BY_NAME, "config.environment_options": BY_NAME}
"""Settings that are read without the others, of a run that the command line can go on with."""


def read_facts(folder: str | Path) -> dict[str, Any]:
    """A run's `config.json`, once each fact in it is known to be of the kind that a run writes.

    Raises:
        ValueError: as `read_config` does, and if a fact is of another kind.
    """
    content = read_config(folder)
    kinds = {**FACTS, **(SETTINGS if "hyperparameters" in content["config"] else {})}
    if "total_steps" not in content:
        kinds["config.total_steps"] = NUMBER
    for name, (is_one, kind) in kinds.items():
        for value in _found(name, content):
            if not is_one(value):
                raise ValueError(
                    f"{Path(folder) / CONFIG_FILE}: {name} ({reprlib.repr(value)}) must be {kind}: mend the file"
                )
    return content


def _found(name: str, content: Mapping[str, Any]) -> Iterator[Any]:
    """What stands under a name, such as `interface.wrappers`; nothing where nothing does."""
    first, _, rest = name.partition(".")
    if first in content:
        if rest:
            yield from _found(rest, content[first])
        else:
            yield content[first]
