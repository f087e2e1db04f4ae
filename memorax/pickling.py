"""Pickles objects that hold functions made within functions, as the optimizers of optax are."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from typing import Any


def pack(owner: str, values: Mapping[str, Any]) -> bytes:
    """Pickle values, functions among them by what they hold.

    Args:
        owner: name of the class they belong to, for messages.
        values: the values by name.

    Raises:
        ImportError: if the package that can do so is missing, in one line with the command that installs it.
        TypeError: if a value cannot be pickled in any way, in one line that names it.
    """
    try:
        cloudpickle = importlib.import_module("cloudpickle")
    except ImportError as error:
        raise ImportError(
            f"{owner} holds functions made within functions, as optimizers of optax are, which pickle alone does not "
            "know: pip install cloudpickle, and pickle it in the same way"
        ) from error
    for name, value in values.items():
        try:
            cloudpickle.dumps(value)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise TypeError(
                f"{owner} cannot be pickled because of its {name} ({reason}): leave out what belongs to this process, "
                "or make the agent again in the other one"
            ) from error
    packed: bytes = cloudpickle.dumps(dict(values))
    return packed


def unpack(kind: type, packed: bytes) -> Any:
    """Make an object of a class from what `pack` returned."""
    made: Any = object.__new__(kind)
    made.__setstate__(pickle.loads(packed))
    return made
