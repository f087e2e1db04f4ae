"""Settings that the command line reads in a way of their own: `NAME=VALUE`, and numbers of steps such as `1e5`."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable
from typing import Annotated, Any

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from memorax.validation import whole_number

WORDS = {"true": True, "false": False, "inf": math.inf, "nan": math.nan}
"""Words that are values too, as other languages, configuration files and `repr` write them."""


class _Words(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = WORDS.get(node.id.lower())
        return node if value is None else ast.copy_location(ast.Constant(value), node)


def parse_value(text: str) -> Any:
    """Read a Python literal, in which `true`, `false`, `inf` and `nan` are values too; anything else is text.

    Raises:
        ValueError: if it is a list, tuple or dictionary that cannot be read.
    """
    try:
        return ast.literal_eval(_Words().visit(ast.parse(text.strip(), mode="eval")))
    except (ValueError, SyntaxError) as error:
        if text.strip().startswith(("[", "(", "{")):
            raise ValueError(f"{text} is no Python literal: text in it needs quotes, as in ['a', 'b']") from error
        return text


def parse_options(words: list[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` words, each value by `parse_value`.

    Raises:
        ValueError: if a word lacks its name or its `=`, a name is there twice, or a value cannot be read.
    """
    options: dict[str, Any] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"option {word!r} must be NAME=VALUE")
        if name in options:
            raise ValueError(f"option {name} is set twice: leave one of them out")
        try:
            options[name] = parse_value(value)
        except ValueError as error:
            raise ValueError(f"option {name}: {error}") from error
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


def _one_word(metavar: str, read: Callable[[str], Any], kinds: Any) -> PrimitiveConstructorSpec[Any]:
    """How an option of one word is read, and what values it has."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, kinds),
        str_from_instance=lambda value: [str(value)],
    )


def parse_number(word: str) -> float:
    """Read a number.

    Raises:
        ValueError: if the word says none.
    """
    try:
        return float(word)
    except ValueError as error:
        raise ValueError(f"the value ({word}) must be a number, such as 0.001 or 1e-3") from error


Steps = Annotated[int, _one_word("STEPS", functools.partial(whole_number, "steps"), int)]
Whole = Annotated[int, _one_word("INT", functools.partial(whole_number, "the value"), int)]
Number = Annotated[float, _one_word("FLOAT", parse_number, float | int)]


def or_none(kind: Any) -> Any:
    """One of the types above, or None: written as `None`, as where a preset says more.

    Without it an error would tell of every type that the word is not.
    """
    of_word = kind.__metadata__[0]

    def read(word: str) -> Any:
        return None if word == "None" else of_word.instance_from_str([word])

    return Annotated[kind.__origin__ | None, _one_word(of_word.metavar, read, kind.__origin__ | int | None)]


def parse_checkpoint_step(word: str) -> int | str:
    """Read the step of a checkpoint: a number of steps, `best` or `last`."""
    return word if word in ("best", "last") else whole_number("step", word)


CheckpointStep = Annotated[int | str, _one_word("{last,best,STEP}", parse_checkpoint_step, int | str)]
