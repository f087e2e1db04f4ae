"""Environments: the protocol, the suites, the wrappers."""

from __future__ import annotations

from memorax.environments import spaces
from memorax.environments.environment import Environment, VectorEnvironment
from memorax.environments.make import make, registered

__all__ = ["Environment", "VectorEnvironment", "make", "registered", "spaces"]
