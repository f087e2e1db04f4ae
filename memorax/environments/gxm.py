"""Environments as the `gxm` package names them: `Library/Name`.

gxm gives other packages one interface, in which the end of an episode and its time limit are one (and in gxm 0.4 some
environments are never reset). So its names are served here by the adapters of the libraries they lead to.
"""

from __future__ import annotations

from typing import Any

from gxm import registration

from memorax.environments.environment import Environment
from memorax.environments.make import load
from memorax.types import PyTree

SUITES = {"Brax": "brax", "Craftax": "craftax", "Gymnax": "gymnax", "Navix": "navix", "XMiniGrid": "xminigrid"}
"""The suite that serves a library of gxm."""


def ids() -> list[str]:
    """The names `make` knows: those of every library that is installed."""
    return [f"{library}/{name}" for library in SUITES if library in registration._builtin for name in _names(library)]


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `kwargs` are those of the suite that serves its library."""
    library, _, name = id.partition("/")
    return load(SUITES[library]).make(name, **kwargs)


def _names(library: str) -> list[str]:
    try:
        return load(SUITES[library]).ids()
    except ImportError:
        return []
