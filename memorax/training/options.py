"""Settings that the command line reads in a way of their own: `NAME=VALUE`, and numbers of steps such as `1e5`."""

from __future__ import annotations

import ast
from typing import Annotated, Any

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from memorax.validation import whole_number


def parse_options(words: list[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` words; a value that is no Python literal is taken as text.

    Raises:
        ValueError: if a word lacks its name or its `=`.
    """
    options = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"option {word!r} must be NAME=VALUE")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options


def format_options(options: dict[str, Any]) -> list[str]:
    """The inverse of `parse_options`."""
    return [f"{name}={value!r}" for name, value in options.items()]


Options = Annotated[
    dict[str, Any],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME=VALUE",
        instance_from_str=parse_options,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=format_options,
    ),
]

Switch = tyro.conf.FlagCreatePairsOff[bool]
"""`--name` for True and nothing for False."""


def _whole_number(metavar: str, name: str) -> PrimitiveConstructorSpec[int]:
    """How an option is read that is a whole number, also where it is written as `1e5`."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: whole_number(name, words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


Steps = Annotated[int, _whole_number("STEPS", "steps")]
Whole = Annotated[int, _whole_number("INT", "the value")]


def parse_number(words: list[str]) -> float:
    """Read a number.

    Raises:
        ValueError: if the word says none.
    """
    try:
        return float(words[0])
    except ValueError as error:
        raise ValueError(f"the value ({words[0]}) must be a number, such as 0.001 or 1e-3") from error


Number = Annotated[
    float,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT",
        instance_from_str=parse_number,
        is_instance=lambda value: isinstance(value, float | int),
        str_from_instance=lambda value: [str(value)],
    ),
]


def or_none(kind: Any) -> Any:
    """A type of one word that has a way of its own to be read, or None: written as `None`, as where a preset says more.

    Without it an error would tell of every type that the word is not.
    """
    of_word = kind.__metadata__[0]
    return Annotated[
        kind.__origin__ | None,
        PrimitiveConstructorSpec(
            nargs=1,
            metavar=of_word.metavar,
            instance_from_str=lambda words: None if words == ["None"] else of_word.instance_from_str(words),
            is_instance=lambda value: value is None or of_word.is_instance(value),
            str_from_instance=lambda value: ["None"] if value is None else of_word.str_from_instance(value),
        ),
    ]


def parse_checkpoint_step(words: list[str]) -> int | str:
    """Read the step of a checkpoint: a number of steps, `best` or `last`."""
    return words[0] if words[0] in ("best", "last") else whole_number("step", words[0])


CheckpointStep = Annotated[
    int | str,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="{last,best,STEP}",
        instance_from_str=parse_checkpoint_step,
        is_instance=lambda value: isinstance(value, int | str),
        str_from_instance=lambda value: [str(value)],
    ),
]
