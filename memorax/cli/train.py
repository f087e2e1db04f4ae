"""`memorax train`."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from memorax.algorithms import ALGORITHMS
from memorax.cli.arguments import check_options, joined, readable
from memorax.cli.processes import together
from memorax.laboratory.presets import find_preset, load_preset
from memorax.parts import import_own
from memorax.training import TrainConfig, TrainingResult, run_config
from memorax.training.config import OPTIONS, find_algorithm, read_config_file
from memorax.training.devices import cores_to_devices
from memorax.training.options import Switch
from memorax.training.processes import is_first

COMMAND = """What `memorax train` takes.

Attributes:
    config: Settings of the run.
    config_file: Settings to start from: config.json of a run, or a YAML file. Other options change them.
    preset: Settings to start from that were found for a task: a name that `memorax list presets` shows or, without one,
        those for --environment, --algorithm and --torso as far as they are given. Other options change them.
    folder: Folder of the run. Default: one in runs/ named after the settings and the time.
    debug: Find the operation that makes the first NaN or infinity; the run takes twice the memory.
    coordinator: Address HOST:PORT of the first of several processes that train the run together, or auto where the
        scheduler of a cluster says it. Default: one process.
    num_processes: Number of these processes.
    process_id: Number of this process, from 0.
"""

PROCESSES = {"coordinator": str, "num_processes": int, "process_id": int}

PRESET = Annotated[str | None, tyro.conf.arg(metavar="[NAME]", help_behavior_hint="")]

ANY_PRESET = "ANY"
"""The value of `--preset` where a name is left out."""


class Command(NamedTuple):
    """What `memorax train` was given.

    Attributes:
        config: the settings of the run.
        folder: the run folder, if one is given.
        debug: whether to find the operation that makes the first NaN or infinity.
        coordinator, num_processes, process_id: which processes train the run together; see `join_processes`.
    """

    config: TrainConfig
    folder: Path | None = None
    debug: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def main(arguments: list[str]) -> int:
    """Train an agent in a new run folder."""
    command = parse(arguments)
    cores_to_devices(command.config.devices)
    with together(command.folder, command.coordinator, command.num_processes, command.process_id):
        path, result = run_config(command.config, command.folder, debug=command.debug)
        report(path, result)
    return 0


def parse(arguments: list[str]) -> Command:
    """Read the settings of a run; the hyperparameters of its algorithm are options as well.

    Raises:
        ValueError: if a setting is not valid.
    """
    for module in values_of("--import", arguments):
        import_own(module)
    if arguments and not arguments[0].startswith("-"):
        raise ValueError(f"unexpected word {arguments[0]!r}: settings are options, such as --torso NAME")
    arguments = with_preset_named(arguments)
    if "" in values_of("--folder", arguments):
        # As a path it would be the working directory, which would become the run folder.
        raise ValueError("--folder ('') must be a path, such as runs/mine")
    base = _start(arguments)
    algorithm = (values_of("--algorithm", arguments) or [base.algorithm])[-1]
    _, config_class = find_algorithm(algorithm)
    _check_options(arguments, algorithm, config_class)
    hyperparameters = unchecked(config_class)
    # The names are titles of the help.
    described = tyro.conf.arg(name=algorithm, help=f"Hyperparameters of {algorithm}.")
    settings = unchecked(TrainConfig, hyperparameters=Annotated[hyperparameters, described])
    chosen = _shared_hyperparameters(base, config_class)
    defaults = settings(**{**vars(base), "hyperparameters": hyperparameters(**chosen), "algorithm": algorithm})
    command = dataclasses.make_dataclass(
        "Options",
        [
            ("config", Annotated[settings, tyro.conf.arg(name="run")], defaults),
            (
                "config_file",
                Annotated[Path | None, tyro.conf.arg(name="config", metavar="PATH", help_behavior_hint="")],
                None,
            ),
            ("preset", PRESET, None),
            ("folder", readable(Path | None, None, "folder"), None),
            ("debug", readable(Switch, False, "debug"), False),
            *((name, readable(kind | None, None, name), None) for name, kind in PROCESSES.items()),
        ],
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
    hyperparameters_given = config_class(**vars(given.config.hyperparameters))
    chosen_settings = {**vars(given.config), **_merged_options(base, given.config)}
    config = TrainConfig(**{**chosen_settings, "hyperparameters": hyperparameters_given})
    return Command(config, given.folder, given.debug, *(getattr(given, name) for name in PROCESSES))


def _shared_hyperparameters(base: TrainConfig, config_class: type) -> dict[str, Any]:
    """The hyperparameters to start from: all of the same algorithm, and what another one was given of the same name."""
    found = vars(base.hyperparameters)
    if type(base.hyperparameters) is config_class:
        return found
    names = {field.name for field in dataclasses.fields(config_class)}
    defaults = vars(type(base.hyperparameters)())
    return {name: value for name, value in found.items() if name in names and value != defaults[name]}


def _merged_options(base: TrainConfig, given: Any) -> dict[str, Any]:
    """The options of parts: those given, beside what the same part had before."""
    return {
        name: {**getattr(base, name), **getattr(given, name)}
        for name in OPTIONS
        if getattr(base, part := name.removesuffix("_options")) == getattr(given, part)
    }


def with_preset_named(arguments: Sequence[str]) -> list[str]:
    """The arguments with a value for a `--preset` that has none."""
    followed = [*arguments[1:], "--"]
    named: list[str] = []
    for word, following in zip(arguments, followed, strict=False):
        named.append(word)
        if word == "--preset" and following.startswith("-"):
            named.append(ANY_PRESET)
    return named


def _start(arguments: Sequence[str]) -> TrainConfig:
    """The settings that the options change: those of a file, of a preset, or the defaults.

    Raises:
        ValueError: if there is no such file or preset, both are given, or several presets fit.
    """
    files, presets = values_of("--config", arguments), values_of("--preset", arguments)
    if files and presets:
        raise ValueError("--config and --preset are both settings to start from: leave one of them out")
    if files:
        return read_config_file(Path(files[-1]))
    if not presets:
        return TrainConfig()
    if presets[-1] != ANY_PRESET:
        return load_preset(presets[-1])
    given = {name: values_of(f"--{name}", arguments) for name in ("environment", "algorithm", "torso")}
    if not given["environment"]:
        raise ValueError("--preset needs a name, or --environment: `memorax list presets` shows what there is")
    return load_preset(find_preset(**{name: values[-1] for name, values in given.items() if values}))


def _check_options(arguments: Sequence[str], algorithm: str, config_class: type) -> None:
    """Check that every option exists for the algorithm, and say where it is another algorithm's."""
    settings = [field.name for field in dataclasses.fields(TrainConfig) if field.name != "hyperparameters"]
    own = [field.name for field in dataclasses.fields(config_class)]
    try:
        check_options(
            "train", arguments, [*settings, *own, "import", "config", "preset", "folder", "debug", *PROCESSES]
        )
    except ValueError as error:
        given = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in arguments}
        for other, (_, other_class) in ALGORITHMS.items():
            for field in dataclasses.fields(other_class):
                if field.name in given - {*settings, *own}:
                    option = field.name.replace("_", "-")
                    raise ValueError(f"--{option} is an option of --algorithm {other}, not of {algorithm}") from error
        raise
    kinds = typing.get_type_hints(TrainConfig) | typing.get_type_hints(config_class)
    for word, following in itertools.pairwise(arguments):
        switch = word.removeprefix("--").removeprefix("no-")
        if word.startswith("--") and kinds.get(switch.replace("-", "_")) is bool and not following.startswith("-"):
            raise ValueError(f"{word} takes no value ({following!r}): write --{switch} or --no-{switch}")


def values_of(flag: str, arguments: Sequence[str]) -> list[str]:
    """The words that follow a flag, up to the next flag; also in the form `--flag=word`."""
    values: list[str] = []
    follows = False
    for word in arguments:
        if word.startswith("--"):
            name, separator, value = word.partition("=")
            follows = name == flag
            values.extend([value] if follows and separator else [])
        elif follows:
            values.append(word)
    return values


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
            readable(hints[field.name], field.default if field.default_factory is not dict else {}, field.name),
            dataclasses.field(default=field.default, default_factory=field.default_factory),
        )
        for field in dataclasses.fields(config_class)
    ]
    # What a config inherits is described where it comes from.
    ancestors = tuple(
        type(ancestor.__name__, (), {"__doc__": joined(ancestor.__doc__)})
        for ancestor in config_class.__mro__[1:]
        if dataclasses.is_dataclass(ancestor)
    )
    namespace = {"__doc__": joined(config_class.__doc__)}
    return dataclasses.make_dataclass(config_class.__name__, fields, bases=ancestors, namespace=namespace, frozen=True)


def report(folder: Path, result: TrainingResult) -> None:
    """Print how the run ended, the mean return of the last evaluation and the folder of the run."""
    if not is_first():
        return
    if result.stopped:
        print(f"stopped after {result.step:,} steps: {result.stopped}")
    elif not result.metrics:
        print("the run was complete already: --total-steps trains it for longer")
    returns = [row["evaluation_return"] for row in result.metrics if "evaluation_return" in row]
    if returns:
        print(f"evaluation return {sum(returns) / len(returns):.4g}, mean over {len(returns)} seed(s)")
    print(f"everything is in {folder}")
