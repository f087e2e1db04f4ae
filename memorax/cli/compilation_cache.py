"""Keeps compiled programs between commands, in a cache folder of the user's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

SWITCH = "MEMORAX_COMPILATION_CACHE"
"""The environment variable that turns the cache `off`, or names another folder for it."""

JAX_SETTING = "JAX_COMPILATION_CACHE_DIR"

KEPT_DAYS = 30

KEPT_BYTES = 4 << 30
"""Most that programs may take of the disk; the oldest are removed first."""


def use_compilation_cache() -> None:
    """Let JAX keep what it compiles, so that a command starts at once where the same one has run before.

    It is set by environment variables, which JAX reads when it is imported. A folder that the user gave JAX stays.
    Programs written more than 30 days ago are removed, and the oldest of those that take more than 4 GiB together.
    """
    chosen = os.environ.get(SWITCH, "")
    if chosen.lower() in ("off", "0", "false", "no") or JAX_SETTING in os.environ:
        return
    folder = cache_folder(chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_old(folder)
    except OSError:
        return  # a home that cannot be written to: compile as if there were no cache
    os.environ[JAX_SETTING] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def cache_folder(chosen: str = "") -> Path:
    """The folder of this kind of processor: what is compiled for one may hold instructions that another lacks.

    Args:
        chosen: the folder for all kinds; by default `memorax` in the user's cache folder.
    """
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memorax"
    return base / hashlib.sha256(processor().encode()).hexdigest()[:12]


def processor() -> str:
    """What the processor is and can do, as far as the system tells."""
    found = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found += "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return found


def remove_old(folder: Path) -> None:
    """Remove files that were written more than 30 days ago, and the oldest ones where all take more than 4 GiB."""
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    taken = 0
    for written, size, path in sorted(_files(folder), reverse=True):
        taken += size
        if written < oldest or taken > KEPT_BYTES:
            # Another command may remove it at the same time.
            with contextlib.suppress(OSError):
                path.unlink()


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was written, and its size in bytes."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            facts = path.stat()
            yield facts.st_mtime, facts.st_size, path
