"""Where a run comes from: the surroundings that its numbers depend on, kept in its `config.json`."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from memorax.command import command_line
from memorax.version import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
COMMIT = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def describe_origin(devices: Sequence[jax.Device]) -> dict[str, Any]:
    """The date, command, commit of the working directory, versions, devices, machine and kind of random keys."""
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command_line(),
        "commit": _commit(),
        "versions": {
            "memorax": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "machine": _machine(),
        "random_keys": random_keys(),
        "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
    }


def random_keys() -> str:
    """The kind of random keys that `jax.random.key` makes in this process."""
    return str(jax.random.key_impl(jax.random.key(0)))


def check_random_keys(origin: Mapping[str, Any], folder: object) -> None:
    """Check that this process makes the kind of random keys that a run was begun with.

    Raises:
        ValueError: if it does not.
    """
    kept, now = origin.get("random_keys"), random_keys()
    if kept not in (None, now):
        raise ValueError(
            f"random keys ({now}) must be those of the run in {folder} ({kept}): set JAX_DEFAULT_PRNG_IMPL={kept}"
        )


def differences(origin: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two origins that changes numbers, such as "jax 0.10.0 -> 0.11.0"."""
    then, versions = origin.get("versions", {}), now["versions"]
    pairs = {
        **{name: (then.get(name), versions[name]) for name in ("memorax", *PACKAGES)},
        "device": (_device(origin), _device(now)),
        "x64": (origin.get("x64"), now["x64"]),
    }
    return [f"{name} {one} -> {other}" for name, (one, other) in pairs.items() if one not in (None, other)]


def _device(origin: Mapping[str, Any]) -> str | None:
    """The devices of an origin, where their number changes numbers: agents are the same on any number of cores."""
    device: str | None = origin.get("device")
    return "cpu" if device is not None and device.endswith(" x cpu") else device


def _machine() -> str:
    """The processor of this machine and its number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _commit() -> str | None:
    """The commit of the working directory, with "-dirty" where files differ from it; None outside a repository."""
    try:
        done = subprocess.run(COMMIT, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
