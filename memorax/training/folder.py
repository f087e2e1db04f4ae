"""The folder of a run: config, metrics, checkpoints. One process at a time owns it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import itertools
import json
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from memorax.evaluation.facts import read_facts
from memorax.evaluation.runs import CONFIG_FILE, read_config
from memorax.files import write_whole
from memorax.training.checkpoints import FACTS_FILE
from memorax.training.config import TrainConfig, config_from_json

LOCK_FILE = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system answers that has no locks."""


def folder_path(name: str, value: Any) -> Path:
    """The path that a text or a path object names; `name` is for messages.

    Raises:
        ValueError: if it is none, or an empty text, which would name the working directory.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path:
        raise ValueError(f"{name} ({value!r}) must be a path, such as 'runs/mine'")
    return Path(path)


def make_default_folder(config: TrainConfig, parent: Path = Path("runs")) -> Path:
    """Make a new folder `runs/<environment>-<algorithm>-<torso>-<date>-<time>`, with a number where there is one."""
    while True:
        folder = default_folder(config, parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder


def default_folder(config: TrainConfig, parent: Path = Path("runs")) -> Path:
    """A name for the folder of a run that no folder has yet; it is not made."""
    parts = (config.environment, config.algorithm, config.torso)
    name = "-".join(re.sub(r"[^\w.]+", "-", part) for part in parts)
    first = parent / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([first], others) if not folder.exists())


def checkpoints_folder(folder: Path) -> Path:
    """Where a run's checkpoints lie."""
    return folder / "checkpoints"


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own a run folder, which exists: no other process trains in it meanwhile. The lock dies with the process.

    Raises:
        ValueError: if another process owns it.
    """
    with open(folder / LOCK_FILE, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise ValueError(f"folder ({folder}) is in use by {owner}: wait for it, or choose another folder") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            logging.getLogger(__name__).warning(
                "the file system of %s has no locks: let no other process train in it", folder
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def check_folder(folder: Path) -> None:
    """Check that a new run can have a folder, which need not exist.

    Raises:
        ValueError: if there is a run in it or what is left of one, or if it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder ({folder}) is a file: choose another folder")
    if (folder / CONFIG_FILE).exists():
        raise ValueError(
            f"folder ({folder}) holds another run: go on with it by {_how_to_resume(folder)}, or choose another folder"
        )
    # Here rather than above: deployment needs parts of training.
    from memorax.deployment.manifest import MANIFEST_FILE

    if (folder / MANIFEST_FILE).exists():
        raise ValueError(f"folder ({folder}) holds an exported policy: choose another folder")
    if any(checkpoints_folder(folder).glob(f"*/{FACTS_FILE}")):
        raise ValueError(
            f"folder ({folder}) holds checkpoints of a run whose {CONFIG_FILE} is gone: choose another folder, or "
            f"remove {checkpoints_folder(folder)}"
        )


def _how_to_resume(folder: Path) -> str:
    """What goes on with the run in a folder: the command, or the function where its agent was made in Python."""
    with contextlib.suppress(ValueError):
        if "hyperparameters" not in read_config(folder)["config"]:
            return "`train(agent, ..., resume=True)`"
    return f"`memorax resume {folder}`"


def create_folder(folder: Path) -> None:
    """Make the folder of a new run. Of several processes that try, one succeeds.

    Raises:
        ValueError: if there is a run in it, or if it is a file.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        open(folder / CONFIG_FILE, "x").close()
    except FileExistsError:
        check_folder(folder)


def write_config(folder: Path, settings: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> None:
    """Write what a run says of itself, whole or not at all.

    Args:
        folder: the run folder.
        settings: the settings, as JSON holds them.
        facts: what else is known of the run; see `memorax.training.origin`.
    """
    content = {**(facts or {}), "config": dict(settings)}
    write_whole(folder / CONFIG_FILE, json.dumps(content, indent=2) + "\n")


def load_config(folder: Path) -> TrainConfig:
    """The config of the run in a folder.

    Raises:
        ValueError: if there is no run in it, if its config is not valid, or if its agent was made by hand.
    """
    settings = read_facts(folder)["config"]
    if "hyperparameters" not in settings:
        raise ValueError(
            f"{folder} holds a run whose agent was made in Python: pass it, as in `load_run(folder, agent=agent)` or "
            "`load_policy(folder, agent=agent)`; go on with it by "
            f"`memorax.training.train(agent, ..., folder={str(folder)!r}, resume=True)`"
        )
    return config_from_json(settings, str(folder / CONFIG_FILE))
