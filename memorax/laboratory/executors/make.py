"""Executors by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from memorax.laboratory.executors.executor import Executor
from memorax.parts import look_up

EXECUTORS = {
    "local": "memorax.laboratory.executors.local:LocalExecutor",
    "ray": "memorax.laboratory.executors.ray:RayExecutor",
    "slurm": "memorax.laboratory.executors.slurm:SlurmExecutor",
}
"""By name, the class of an executor as MODULE:ATTRIBUTE, imported when it is used."""


def make_executor(name: str, workers: int | None = None, options: Mapping[str, Any] | None = None) -> Executor:
    """Make an executor.

    Args:
        name: its name in `EXECUTORS`.
        workers: most runs that are trained at the same time; by default as many as the executor finds sensible.
        options: options of the executor.

    Raises:
        ValueError: if there is no such executor, or it refuses the options.
        ImportError: if a package that it needs is not installed.
    """
    module, _, attribute = look_up("executor", name, EXECUTORS).partition(":")
    if workers is not None and workers < 1:
        raise ValueError(f"workers ({workers}) must be at least 1")
    return getattr(import_module(module), attribute)(workers, dict(options or {}))
