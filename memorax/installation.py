"""How to install optional packages, from where this copy of memorax was installed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, where the package runs from one."""


def install_command(extra: str, upgrade: bool = False) -> str:
    """The command that installs an optional part, such as `pip install -e "/home/me/memorax[navix]"`.

    It names a folder and never the name alone: on the package index, that name belongs to another project.

    Args:
        extra: a name under `optional-dependencies` in `pyproject.toml`.
        upgrade: whether packages that are installed already are upgraded, as far as they fit.
    """
    options = "--upgrade -e" if upgrade else "-e"
    if (ROOT / "pyproject.toml").is_file():
        return f'pip install {options} "{ROOT}[{extra}]"'
    return f'pip install {options} ".[{extra}]" in a checkout of memorax'
