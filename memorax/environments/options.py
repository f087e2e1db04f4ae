"""The options of `make`: which exist, and a one-line error with a suggestion for one that does not."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

from memorax.environments.wrappers import WRAPPERS


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
