"""Trained agents outside of the laboratory: policies to call, to export and to share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memorax.deployment.loading import load_policy
from memorax.deployment.policy import Policy
from memorax.deployment.program import Program

if TYPE_CHECKING:
    from memorax.deployment.export import export_policy, export_run

# Imported when first used: an exported policy acts without the code of networks.
_EXPORT = ("export_policy", "export_run")

__all__ = ["Policy", "Program", "export_policy", "export_run", "load_policy"]


def __getattr__(name: str) -> Any:
    if name in _EXPORT:
        return getattr(import_module("memorax.deployment.export"), name)
    raise AttributeError(f"module 'memorax.deployment' has no attribute {name!r}")
