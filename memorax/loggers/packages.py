"""Imports the packages of loggers that are optional parts."""

from __future__ import annotations

import importlib
from typing import Any

from memorax.installation import install_command


def import_package(package: str, extra: str) -> Any:
    """Import the package of a logger.

    Args:
        package: name of the package.
        extra: name of the logger, and of the optional part that installs the package.

    Raises:
        ImportError: if it is missing, in one line with the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(f"the {extra} logger needs the package {package!r}: {install_command(extra)}") from error
