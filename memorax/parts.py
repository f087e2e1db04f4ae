"""Parts by name and their options; `my_module:my_torso` is a part of one's own, an attribute of a module."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def look_up(kind: str, name: str, members: Mapping[str, Any]) -> Any:
    """Find a part by its name among those there are, or by `module:attribute` anywhere else.

    Args:
        kind: kind of the part, such as "torso", for messages.
        name: name of the part.
        members: the parts that have names.

    Raises:
        ValueError: if there is none, naming those that exist.
    """
    if is_own(name):
        return load_own(kind, name)
    if name not in members:
        close = suggest(name, members)
        choice = f"choose from {', '.join(members)}, or MODULE:ATTRIBUTE"
        raise ValueError(f"unknown {kind} {name!r}{close or f': {choice}'}")
    return members[name]


def is_own(name: str) -> bool:
    """Whether a name is that of a part of one's own, `module:attribute`."""
    return ":" in name and "::" not in name


OWN: Mapping[str, tuple[int | None, str]] = {
    "environment": (None, "a class or a function of the environment's options that returns an Environment"),
    "torso": (1, "a function of features and of options that returns a sequence model"),
    "encoder": (2, "a function of the observation space and features that returns a module"),
    "head": (1, "a function of a head that returns the head to use"),
    "algorithm": (None, "a subclass of Algorithm[Config, State]"),
    "optimizer": (1, "a function of the learning rate and of options that returns an optimizer of optax"),
}
"""By kind, how many arguments without a name a part of one's own is called with (None: by names alone, or not before it
is known to be one), and what it must be."""


def load_own(kind: str, name: str) -> Any:
    """The attribute that `module:attribute` names.

    Raises:
        ValueError: if there is no such module or no such attribute, or it cannot be called as a part of its kind is.
    """
    module_name, _, attribute = name.partition(":")
    module = import_own(module_name)
    if attribute not in vars(module):
        close = suggest(attribute, [known for known in vars(module) if not known.startswith("_")])
        raise ValueError(f"{kind} {name!r} does not exist: module {module_name} has no {attribute!r}{close}")
    part = vars(module)[attribute]
    number, what = OWN.get(kind, (None, ""))
    if kind in OWN and not (callable(part) and _takes(part, number)):
        raise ValueError(f"{kind} {name!r} must be {what}, and is {_described(part)}")
    return part


def make_part(
    kind: str,
    name: str,
    part: Callable[..., Any],
    is_made: Callable[[Any], bool],
    arguments: Sequence[Any],
    options: Mapping[str, Any],
) -> Any:
    """What a part makes of its arguments.

    Args:
        kind: kind of the part, one of those in `OWN`.
        name: its name, for messages.
        part: the part, as `look_up` returned it.
        is_made: whether something is what such a part makes.
        arguments: arguments without a name.
        options: options by name.

    Raises:
        ValueError: if one of one's own makes something else, or refuses to be called so. What is raised deeper in it
            is raised here.
    """
    if not is_own(name):
        return part(*arguments, **options)
    what = OWN[kind][1]
    try:
        made = part(*arguments, **options)
    except TypeError as error:
        # A function that is no part at all refuses its arguments itself; what it calls is the user's to mend, who needs
        # the whole traceback.
        frames = traceback.extract_tb(error.__traceback__)[1:]
        if len(frames) > 1:
            raise
        place = "".join(f" in line {frame.lineno} of {Path(frame.filename).name}" for frame in frames)
        raise ValueError(f"{kind} {name!r} must be {what}: called so it raised TypeError{place}: {error}") from error
    if not is_made(made):
        raise ValueError(f"{kind} {name!r} must be {what}, and returned {_described(made)}")
    return made


def check_own_options(kind: str, name: str, options: Mapping[str, Any]) -> None:
    """Check that a part of one's own, which is called by names alone, needs no more than the options that are given.

    Raises:
        ValueError: if there is no such part, or it needs others.
    """
    signature = _signature(load_own(kind, name))
    parameters = () if signature is None else signature.parameters.values()
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in optional]
    if missing := [parameter for parameter in needed if parameter not in options]:
        what = OWN[kind][1]
        raise ValueError(f"{kind} {name!r} takes {', '.join(missing)}, which no option gives: it must be {what}")


def _takes(part: Callable[..., Any], number: int | None) -> bool:
    """Whether a function can be called with so many arguments without a name, as far as it says what it takes."""
    signature = None if number is None else _signature(part)
    if signature is None:
        return True
    try:
        signature.bind(*[None] * (number or 0))
    except TypeError:
        return False
    return True


def _signature(part: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes; None where it does not say, as some of those written in C."""
    try:
        return inspect.signature(part)
    except (TypeError, ValueError):
        return None


def _described(part: Any) -> str:
    """What something is, in a few words; of a function, what it takes."""
    if not inspect.isroutine(part) and not isinstance(part, type):
        return f"something of type {type(part).__name__}"
    signature = _signature(part)
    what = "the class" if isinstance(part, type) else "the function"
    return f"{what} {part.__name__}{'' if signature is None else signature}"


def import_own(name: str) -> Any:
    """Import a module of one's own, found also in the working directory.

    Raises:
        ValueError: if there is no such module. What is raised within it is raised here.
    """
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"there is no module {name!r} in {directory} or on the Python path: go to its folder, or set PYTHONPATH"
        ) from error


def check_options(what: str, function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Check options against the keyword parameters of the function that takes them.

    Args:
        what: name of what has the options, such as "torso 'gru'".
        function: the function; its parameters with a default are the options, except for the first parameter.
        given: options by name.

    Raises:
        ValueError: if there is no such option, naming those there are, or a value is of another type than its default.
    """
    defaults = option_defaults(function)
    for name, value in given.items():
        if name not in defaults:
            valid = ", ".join(defaults) or "none"
            raise ValueError(f"{what} has no option {name!r}{suggest(name, defaults)} (valid: {valid})")
        default = defaults[name]
        if isinstance(default, bool | int | float | str) and not _is_like(value, default):
            raise ValueError(f"{what}: option {name} ({value!r}) must be a value like {default!r}")


def check_annotated(what: str, function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Check options against the annotations of a function or class of one's own, where these are plain types.

    Raises:
        ValueError: if a parameter that is annotated as bool, int, float or str is given something else.
    """
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except (TypeError, NameError, AttributeError):  # of something that is imported for type checkers alone
        return
    for name, value in given.items():
        kind = parameters[name].annotation if name in parameters else None
        if kind in (bool, int, float, str) and not _is_like(value, kind()):
            raise ValueError(f"{what}: option {name} ({value!r}) must be of type {kind.__name__}")


def option_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword parameters of a function and their defaults, but the first parameter."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    _, *parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind in named and p.default is not inspect.Parameter.empty}


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, type(default)) and not isinstance(value, bool)


def suggest(word: str, known: Iterable[str]) -> str:
    """`": did you mean 'x' or 'y'?"` with the names closest to `word`, or nothing where none is close.

    Names like `"suite::Id"` are compared by their id.
    """
    names = list(known)
    words = [name.rpartition("::")[2].lower() for name in names]
    longer = [other for other in words if other.startswith(word.lower())]
    close = longer if 1 <= len(longer) <= 3 else difflib.get_close_matches(word.lower(), words, n=3, cutoff=0.7)
    found = [name for other in dict.fromkeys(close) for name, w in zip(names, words, strict=True) if w == other]
    return f": did you mean {' or '.join(map(repr, found))}?" if found else ""
