"""Environments that run in Python on the host, outside of compiled code."""

from memorax.environments.host.batch import OPEN_BATCHES, HostBatch, HostStep
from memorax.environments.host.callback import own_errors
from memorax.environments.host.environment import HostEnvironment, HostState, HostVectorEnvironment, close
from memorax.environments.host.workers import WorkerBatch

__all__ = [
    "OPEN_BATCHES",
    "HostBatch",
    "HostEnvironment",
    "HostState",
    "HostStep",
    "HostVectorEnvironment",
    "WorkerBatch",
    "close",
    "own_errors",
]
