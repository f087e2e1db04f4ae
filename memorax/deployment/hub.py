"""Where policies are shared: the Hugging Face Hub, or a directory in its place."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from memorax.deployment.exported import require
from memorax.deployment.manifest import MANIFEST_FILE

PREFIX = "hub:"
DIRECTORY = "MEMORAX_HUB"
"""The environment variable that names a directory to use in place of the Hub."""

NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def is_hub(source: str | Path) -> bool:
    """Whether a policy is named by its place on the Hub."""
    return str(source).startswith(PREFIX)


def upload(folder: Path, target: str, private: bool = False) -> str:
    """Share a folder, in place of what has its name.

    Args:
        folder: the folder.
        target: `hub:NAME` or `hub:OWNER/NAME`.
        private: whether others may not see it.

    Returns:
        Where it is now.

    Raises:
        ValueError: if the name is not valid, or that of something else than a policy in the directory.
        ImportError: if a package is missing, naming the command that installs it.
    """
    name = _name(target)
    if directory := os.environ.get(DIRECTORY):
        return str(_replace(folder, Path(directory), name))
    api = require("huggingface_hub", "hub").HfApi()
    repository = api.create_repo(name, private=private, exist_ok=True)
    api.upload_folder(repo_id=repository.repo_id, folder_path=folder, commit_message="Upload a policy")
    return str(repository)


def _replace(folder: Path, directory: Path, name: str) -> Path:
    """Copy a policy's folder into the directory, in place of the policy of that name, whole or not at all."""
    place = directory / name
    if place.exists() and not (place / MANIFEST_FILE).is_file():
        raise ValueError(f"{place} holds something else than a policy, such as those of an owner: choose another name")
    owner = place.parent
    if owner != directory and (owner / MANIFEST_FILE).is_file():
        raise ValueError(f"{owner} is a policy, and no owner: choose another name than {place.name} in it")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as beside:
        shutil.copytree(folder, Path(beside) / "new")
        if place.exists():
            place.rename(Path(beside) / "old")
        (Path(beside) / "new").rename(place)
    return place


def download(source: str | Path) -> Path:
    """The folder of a policy that was shared.

    Args:
        source: `hub:NAME` or `hub:OWNER/NAME`.

    Raises:
        ValueError: if the name is not valid, or there is no such policy in the directory.
        ImportError: if a package is missing, naming the command that installs it.
    """
    name = _name(str(source))
    if directory := os.environ.get(DIRECTORY):
        place = Path(directory) / name
        if not place.is_dir():
            raise ValueError(f"{source} is not there: {DIRECTORY} ({directory}) holds no {name}")
        return place
    return Path(require("huggingface_hub", "hub").snapshot_download(name))


def _name(target: str) -> str:
    name = target.removeprefix(PREFIX)
    if not is_hub(target) or not NAME.fullmatch(name) or any(part.startswith(".") for part in name.split("/")):
        raise ValueError(f"{target} must be {PREFIX}NAME or {PREFIX}OWNER/NAME, of letters, digits, '-', '_' and '.'")
    return name
