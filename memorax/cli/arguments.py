"""Reading the arguments of a command, with a suggestion for an option that does not exist."""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from memorax.training.options import Number, Switch, Whole, or_none

OTHER_NAMES: Mapping[str, str] = {
    "algo": "algorithm",
    "batch-size": "num-minibatches",
    "cores": "devices",
    "discount": "gamma",
    "entropy-coef": "ent-coef",
    "env": "environment",
    "env-id": "environment",
    "envs": "num-envs",
    "epochs": "update-epochs",
    "episodes": "num-episodes",
    "fps": "frames-per-second",
    "gpus": "devices",
    "hidden-size": "features",
    "lr": "learning-rate",
    "model": "torso",
    "n-envs": "num-envs",
    "n-steps": "num-steps",
    "out": "output",
    "seeds": "num-seeds",
    "steps": "total-steps num-steps",
    "timesteps": "total-steps",
    "total-timesteps": "total-steps",
    "value-coef": "vf-coef",
    "width": "features",
}
"""What options are called elsewhere, by the names that people try first; the first that a command has is meant."""


def call_command(command: Callable[..., None], name: str, arguments: Sequence[str]) -> int:
    """Call a command with the arguments of its command line.

    Args:
        command: a function; its parameters are the options, its docstring the help.
        name: the name of the command.
        arguments: the words after the name.

    Returns:
        The exit code, 0.

    Raises:
        ValueError: if an option does not exist.
        SystemExit: if tyro cannot read a value, or after it has printed the help.
    """
    parameters = inspect.signature(command).parameters
    check_options(name, arguments, parameters)
    hints = typing.get_type_hints(command, include_extras=True)
    command.__annotations__ |= {key: readable(hints[key], parameters[key].default, key) for key in parameters}
    command.__doc__ = joined(command.__doc__)
    tyro.cli(command, prog=f"memorax {name}", args=arguments)
    return 0


def joined(docstring: str | None) -> str:
    """A docstring with each argument's or attribute's description in one line, which the help wraps by itself."""
    return re.sub(r"\n {8,}(?=\S)", " ", inspect.cleandoc(docstring or ""))


def readable(hint: Any, default: Any, name: str) -> Any:
    """The type of an option that reads whole numbers such as `1e5`, and whose help says no more than is to be known.

    An option without a value says in its description what happens then, and so it shows neither None as its default nor
    as a choice; a switch is off unless it is given. An argument without a flag is shown by its name, in brackets where
    it may be left out.

    Args:
        hint: the type.
        default: the default.
        name: the name of the option.
    """
    optional = type(None) in typing.get_args(hint)
    kind = next(kind for kind in typing.get_args(hint) if kind is not type(None)) if optional else hint
    kind = {int: Whole, float: Number}.get(kind, kind)
    if any(isinstance(part, PrimitiveConstructorSpec) for part in getattr(kind, "__metadata__", ())):
        hint = or_none(kind) if optional else kind
    metadata = getattr(hint, "__metadata__", ())
    if any(hasattr(part, "help_behavior_hint") for part in metadata):
        return hint  # it has its own
    if tyro.conf.Positional in metadata:
        if typing.get_origin(typing.get_args(hint)[0]) is tuple:
            return Annotated[hint, tyro.conf.arg(metavar=f"{name.upper()} ...", help_behavior_hint="")]
        if default is inspect.Parameter.empty:
            return Annotated[hint, tyro.conf.arg(metavar=name.upper())]
        return Annotated[hint, tyro.conf.arg(metavar=f"[{name.upper()}]", help_behavior_hint="")]
    if default is None:
        return Annotated[hint, tyro.conf.arg(metavar=_metavar(kind), help_behavior_hint="")]
    if default in ((), {}) or hint == Switch:
        return Annotated[hint, tyro.conf.arg(help_behavior_hint="")]
    return hint


def _metavar(kind: Any) -> str:
    specified = [part.metavar for part in getattr(kind, "__metadata__", ()) if hasattr(part, "metavar")]
    return specified[0] if specified else kind.__name__.upper()


def check_options(command: str, arguments: Iterable[str], names: Iterable[str]) -> None:
    """Check that every word that starts with `--` is an option of a command.

    Args:
        command: the name of the command.
        arguments: the words after it.
        names: the names of its options; of each, `--no-NAME` is one as well.

    Raises:
        ValueError: if one is not, naming the closest that exists.
    """
    options = [name.replace("_", "-") for name in names]
    known = {"help", *options, *(f"no-{option}" for option in options)}
    for word in arguments:
        option = word.partition("=")[0].removeprefix("--").replace("_", "-")
        if word.startswith("--") and option and option not in known:
            close = suggest_option(option, options)
            hint = f"did you mean --{close}?" if close else f"`memorax {command} --help` lists them all"
            raise ValueError(f"unknown option --{option} of memorax {command}: {hint}")


def suggest_option(option: str, options: Sequence[str]) -> str | None:
    """The option that was most likely meant, if there is one that is like it."""
    if meant := [other for other in OTHER_NAMES.get(option, "").split() if other in options]:
        return meant[0]
    parts = [other for other in options if option in other.split("-")]
    close = difflib.get_close_matches(option, options, n=1, cutoff=0.6)
    return next(iter(close + parts), None)
