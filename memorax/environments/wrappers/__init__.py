"""Environments around environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memorax.environments.environment import Environment
from memorax.environments.wrappers.mask_observation import MaskObservation
from memorax.environments.wrappers.optimistic_resets import OptimisticResets
from memorax.environments.wrappers.wrapper import Wrapper

# The wrappers that `make` applies by keyword, in this order: `make(id, mask_observation=(0, 2))`.
WRAPPERS: Mapping[str, Callable[[Environment, Any], Environment]] = {
    "mask_observation": MaskObservation,
    "optimistic_resets": OptimisticResets,
}

__all__ = ["WRAPPERS", "MaskObservation", "OptimisticResets", "Wrapper"]
