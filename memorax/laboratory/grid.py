"""A grid of settings, declared in one file: what varies, and what all runs share."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from memorax.parts import suggest
from memorax.training.config import OPTIONS, TrainConfig, config_from_json, find_algorithm, import_all, parse_settings

KEYS = ("name", "defaults", "grid", "num_seeds", "seed")
LONGEST_NAME = 150


@dataclass(frozen=True)
class Setting:
    """One point of a grid: a run of several seeds.

    Attributes:
        name: name of its run folder, made of the values that vary.
        config: its settings.
        parameters: number of parameters in all its networks, where they were counted.
    """

    name: str
    config: TrainConfig
    parameters: int | None = None


@dataclass(frozen=True)
class Grid:
    """Settings that are trained together.

    Attributes:
        name: name of the grid; its runs share it as their group.
        settings: its settings, in the order in which they are trained.
    """

    name: str
    settings: tuple[Setting, ...] = field(default_factory=tuple)


def read_grid(path: Path) -> Grid:
    """Read a grid from a file: YAML or JSON, or a Python file whose `GRID` is the same mapping or a function of it.

    Raises:
        ValueError: if there is no such file, or it holds no grid whose settings are valid.
    """
    if not path.is_file():
        raise ValueError(f"grid ({path}) is no file: name a YAML or Python file that declares a grid")
    if path.suffix == ".py":
        _find_modules_in(path.parent.absolute())
        content = runpy.run_path(str(path)).get("GRID")
        if content is None:
            raise ValueError(f"grid ({path}) must define GRID, a mapping or a function that returns one")
        content = content() if callable(content) else content
    else:
        content = parse_settings(path, "grid")
    return make_grid(content, str(path), path.stem)


def _find_modules_in(folder: Path) -> None:
    """Let this process and its workers import modules from a folder."""
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def make_grid(content: Any, origin: str, name: str) -> Grid:
    """Make the settings of a grid: every combination of a value of each axis.

    Args:
        content: a mapping. `grid` has for each axis a list of values: a value of the setting or hyperparameter that the
            axis names, or a mapping of several that go together, with a `name` for the run folder where one is wanted.
            `defaults` holds settings and hyperparameters that all share, `num_seeds` and `seed` the seeds of each.
        origin: where it was read, for messages.
        name: name of the grid, where `content` has none.

    Raises:
        ValueError: if a setting does not exist or is not valid, or two have the same name.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{origin} must hold a mapping with the keys {', '.join(KEYS)}")
    for key in content:
        if key not in KEYS:
            raise ValueError(f"{origin} has an unknown key {key!r}{suggest(str(key), KEYS)}; keys: {', '.join(KEYS)}")
    axes, defaults = content.get("grid") or {}, content.get("defaults") or {}
    for key, value in (("grid", axes), ("defaults", defaults)):
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} of {origin} must be a mapping by the names of settings, not {value!r}")
    for key in ("num_seeds", "seed"):
        if key in content and key in defaults:
            raise ValueError(f"{origin} sets {key} twice, by itself and in defaults: leave one of them out")
    for axis, values in axes.items():
        if not isinstance(axis, str):
            raise ValueError(f"axis {axis!r} of {origin} must be the name of a setting, a text")
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise ValueError(f"axis {axis} of {origin} ({values!r}) must be a list of values, such as [{values}]")
    name = str(content.get("name", name))
    _check_name(name, origin)
    shared = {
        "group": name,
        "loggers": ["file"],
        **{key: content[key] for key in ("num_seeds", "seed") if key in content},
        **defaults,
    }
    settings: dict[str, Setting] = {}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        setting = Setting(_folder_name(point), _config(shared, point, origin))
        _check_name(setting.name, origin)
        if setting.name in settings:
            raise ValueError(f"{origin} has the setting {setting.name} twice: leave one of them out")
        settings[setting.name] = setting
    _check_seeds(tuple(settings.values()), origin)
    return Grid(name, tuple(settings.values()))


def with_config(setting: Setting, **changes: Any) -> Setting:
    """A setting with other settings of its run, under the same name."""
    return replace(setting, config=replace(setting.config, **changes))


def _check_name(name: str, origin: str) -> None:
    """Raise a `ValueError` where a name stands for a folder that is there already, or lies elsewhere."""
    if {"", ".", ".."} & set(name.split("/")):
        raise ValueError(f"name ({name}) of {origin} must be one that a new folder can have, such as memories")


def _check_seeds(settings: Sequence[Setting], origin: str) -> None:
    """Raise a `ValueError` where two settings that differ in nothing but their first seed share a seed.

    The same agent would be trained twice and count as two.
    """
    alike: dict[str, list[Setting]] = {}
    for setting in settings:
        alike.setdefault(repr({**vars(setting.config), "seed": None}), []).append(setting)
    for group in alike.values():
        for one, other in itertools.pairwise(sorted(group, key=lambda setting: setting.config.seed)):
            first, number = one.config.seed, one.config.num_seeds
            if first < other.config.seed < first + number:
                raise ValueError(
                    f"{origin}: seed ({other.config.seed}) of {other.name} is trained in {one.name} too, whose "
                    f"num_seeds ({number}) begin at {first}: leave the axis out, or let its values be {number} apart"
                )


def _spelled_alike(settings: Mapping[Any, Any], origin: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a run and the hyperparameters in a mapping, however these are spelled.

    Raises:
        ValueError: if a hyperparameter is there in two spellings, of which one would be lost.
    """
    of_run = {str(name): value for name, value in settings.items() if str(name) in SETTINGS}
    grouped = of_run.pop("hyperparameters", None)
    if grouped is not None and not isinstance(grouped, Mapping):
        raise ValueError(f"{origin}: hyperparameters ({grouped!r}) must be settings by name")
    single = [(str(name), value) for name, value in settings.items() if str(name) not in SETTINGS]
    hyperparameters: dict[str, Any] = {}
    for name, value in [*single, *((str(name), value) for name, value in (grouped or {}).items())]:
        plain = name.removeprefix("hyperparameters.")
        if plain in hyperparameters:
            raise ValueError(f"{origin} sets the hyperparameter {plain} twice: leave one of them out")
        hyperparameters[plain] = value
    return of_run, hyperparameters


def _with_options(options: Any, more: Any) -> Any:
    """Options of a part with more of them; what is no mapping stands alone, and is refused later."""
    return {**options, **more} if isinstance(options, Mapping) and isinstance(more, Mapping) else more


def _config(shared: Mapping[str, Any], point: Mapping[str, Any], origin: str) -> TrainConfig:
    """The config of a point; what the later axes say stands, and options of the same part are put together."""
    defaults, hyperparameters = _spelled_alike(shared, origin)
    varied: dict[str, Any] = {}
    for axis, value in point.items():
        together = isinstance(value, Mapping) and axis not in OPTIONS
        given = {key: member for key, member in value.items() if key != "name"} if together else {axis: value}
        of_run, own_given = _spelled_alike(given, origin)
        options = {name: _with_options(varied.get(name), of_run[name]) for name in OPTIONS if name in of_run}
        varied |= {**of_run, **options}
        hyperparameters |= own_given
    values = {**defaults, **varied}
    for name in OPTIONS:
        part = name.removesuffix("_options")
        before = defaults.get(part, getattr(TrainConfig, part))
        if name in varied and values.get(part, before) == before:
            values[name] = _with_options(defaults.get(name), varied[name])
    import_all(values.get("imports", ()), origin)
    algorithm = values.get("algorithm", TrainConfig.algorithm)
    own = [part.name for part in fields(find_algorithm(algorithm)[1])]
    for name in hyperparameters:
        if name not in own and name not in SETTINGS:
            raise ValueError(
                f"{origin} has an unknown setting {name!r}{suggest(name, [*SETTINGS, *own])}: neither a setting of a "
                f"run nor a hyperparameter of {algorithm}. A value of an axis may be a mapping of settings that go "
                f"together, such as {{algorithm: {algorithm}, {own[0]}: ...}}"
            )
    return config_from_json({**values, "hyperparameters": hyperparameters}, origin)


SETTINGS = tuple(part.name for part in fields(TrainConfig))
UNNAMED = ("environment", "algorithm", "torso")
"""Axes whose values say by themselves what they are."""


def _folder_name(point: Mapping[str, Any]) -> str:
    """A name for the folder of a point, of what varies."""
    parts: list[str] = []
    for axis, value in point.items():
        if not isinstance(value, Mapping):
            parts.append(_part(axis, value))
        elif "name" in value and axis not in OPTIONS:
            parts.append(_plain(str(value["name"])))
        else:
            parts.extend(_part(key, member) for key, member in value.items())
    name = "-".join(filter(None, parts)) or "only"
    if len(name) > LONGEST_NAME:
        return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def _part(axis: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return "-".join(_part(option, member) for option, member in value.items())
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 5e5 reads 500000, as a setting of whole numbers does
    return _plain(str(value) if axis in UNNAMED else f"{axis.rpartition('.')[2]}={value}")


def _plain(text: str) -> str:
    """A text as a part of the name of a folder."""
    return re.sub(r"[^\w.=+,]+", "-", text).strip("-")
