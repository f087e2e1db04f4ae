"""Nothing tells anyone to install the package of the same name that the package index serves."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from memorax import __version__, installation
from memorax.installation import install_command

ROOT = Path(__file__).parent.parent


def test_a_checkout_is_named_by_its_folder() -> None:
    assert install_command("navix") == f'pip install -e "{ROOT}[navix]"'
    assert install_command("ale", upgrade=True) == f'pip install --upgrade -e "{ROOT}[ale]"'


def test_an_installed_copy_is_told_to_go_to_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    assert install_command("navix") == 'pip install -e ".[navix]" in a checkout of memorax'


def test_no_file_names_the_package_of_the_index() -> None:
    """Extras of the package may name it in `pyproject.toml`, where it is the checkout that satisfies them."""
    by_name = re.compile(r"pip install(?: +-\S+)* +[\"']?memorax\b|install memorax==")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = [name for name in listed if name.endswith((".py", ".md", ".toml", "Makefile")) and (ROOT / name).is_file()]
    assert len(texts) > 200
    assert not [
        name for name in texts if by_name.search((ROOT / name).read_text()) and name != "tests/test_installation.py"
    ]
    assert by_name.search('pip install --upgrade "memorax[ale]"')
    assert by_name.search("pip install -U memorax")
    assert not by_name.search('pip install -e "/home/memorax[ale]"')


def test_the_version_is_newer_than_that_package() -> None:
    assert int(__version__.split(".")[0]) >= 2
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
