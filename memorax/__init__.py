"""Reinforcement learning with memory, in JAX.

The names below are imported when first used, so that `import memorax` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memorax.version import __version__

if TYPE_CHECKING:
    from memorax import algorithms, buffers, deployment, environments, evaluation, networks, testing, training
    from memorax.deployment import load_policy
    from memorax.environments import make

_FUNCTIONS = {"load_policy": "memorax.deployment", "make": "memorax.environments"}
_MODULES = ("algorithms", "buffers", "deployment", "environments", "evaluation", "networks", "testing", "training")

__all__ = [
    "__version__",
    "algorithms",
    "buffers",
    "deployment",
    "environments",
    "evaluation",
    "load_policy",
    "make",
    "networks",
    "testing",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return import_module(f"memorax.{name}")
    modules = () if name.startswith("_") else _MODULES
    where = [module for module in modules if name in import_module(f"memorax.{module}").__all__]
    told = f": it is memorax.{where[0]}.{name}" if where else ""
    raise AttributeError(f"module 'memorax' has no attribute {name!r}{told}")


def __dir__() -> list[str]:
    return sorted(__all__)
