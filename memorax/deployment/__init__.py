"""Trained agents outside of the laboratory: policies to call, to export and to share."""

from __future__ import annotations

from memorax.deployment.loading import load_policy
from memorax.deployment.policy import Policy
from memorax.deployment.program import Program

__all__ = ["Policy", "Program", "load_policy"]
