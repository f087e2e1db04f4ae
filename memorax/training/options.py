"""Settings of an environment as words of a command line: `NAME=VALUE`."""

from __future__ import annotations

import ast
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec


def parse_options(words: list[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` words; a value that is no Python literal is taken as text.

    Raises:
        ValueError: if a word lacks its name or its `=`.
    """
    options = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"environment option {word!r} must be NAME=VALUE")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options


def format_options(options: dict[str, Any]) -> list[str]:
    """The inverse of `parse_options`."""
    return [f"{name}={value!r}" for name, value in options.items()]


EnvironmentOptions = Annotated[
    dict[str, Any],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME=VALUE",
        instance_from_str=parse_options,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=format_options,
    ),
]
