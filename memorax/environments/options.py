"""The options of `make`: which exist, and a one-line error with a suggestion for one that does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

from memorax.environments.wrappers import WRAPPERS
from memorax.parts import suggest


def constructor_options(constructor: Callable[..., Any]) -> list[str]:
    """The named parameters of `constructor`."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in inspect.signature(constructor).parameters.values() if p.kind in named]


def check_options(name: str, given: Iterable[str], valid: Collection[str]) -> None:
    """Raise a ValueError, naming the valid options, if `name` is given one it does not have."""
    for option in given:
        if option not in valid:
            own, wrappers = (", ".join(sorted(options)) for options in (valid, WRAPPERS))
            raise ValueError(
                f"{name} has no option {option!r}{suggest(option, [*valid, *WRAPPERS])} "
                f"(valid: {own}; for any environment: {wrappers})"
            )
