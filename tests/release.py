"""Tries what `make release` built: `python tests/release.py DIST TESTS...`.

The wheel must hold the package and nothing else, the source archive everything that tests and documentation need. Each
is installed into an empty environment, where an agent is trained and evaluated; TESTS run from the unpacked archive.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("benchmarks", "docs", "examples", "memorax", "tests")
FILES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml")
TRAIN = "train --environment memory::MemoryChain --features 8 --num-envs 4 --num-steps 16 --total-steps 512"


def main(dist: str, *tests: str) -> None:
    """Check and install the wheel and the source archive in a folder."""
    (wheel,) = Path(dist).resolve().glob("*.whl")
    (archive,) = Path(dist).resolve().glob("*.tar.gz")
    check_wheel(wheel)
    with tempfile.TemporaryDirectory() as folder:
        unpacked = unpack(archive, Path(folder))
        check_source(unpacked)
        python = install(f"{wheel}", Path(folder) / "wheel")
        train(python, Path(folder) / "wheel")
        python = install(f"{archive}[test]", Path(folder) / "source")
        train(python, Path(folder) / "source")
        run([f"{python}", "-m", "pytest", "-q", *tests], unpacked)
    print(f"{wheel.name} and {archive.name} install and run")


def files_of_the_repository() -> set[str]:
    """The files that git knows, by their paths."""
    return set(run(["git", "ls-files"], ROOT, capture=True).split())


def check_wheel(wheel: Path) -> None:
    """The package as it is in the repository, with its type marker, and nothing else."""
    with zipfile.ZipFile(wheel) as contents:
        held = {name for name in contents.namelist() if ".dist-info/" not in name}
    expected = {name for name in files_of_the_repository() if name.startswith("memorax/")}
    assert "memorax/py.typed" in held
    assert held == expected, f"the wheel lacks {expected - held} and should not have {held - expected}"


def check_source(unpacked: Path) -> None:
    """What is needed to test, document and install."""
    expected = [name for name in files_of_the_repository() if name.partition("/")[0] in FOLDERS or name in FILES]
    missing = [name for name in expected if not (unpacked / name).is_file()]
    assert len(expected) > 400 and not missing, f"the source archive lacks {missing}"
    assert not (unpacked / "docs" / "_build").exists()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the source archive; returns the folder in it."""
    with tarfile.open(archive) as contents:
        contents.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def install(what: str, folder: Path) -> Path:
    """Install into a new environment in a folder; returns its Python."""
    venv.create(folder / "environment", with_pip=True)
    python = folder / "environment" / "bin" / "python"
    options = ["--quiet", "--disable-pip-version-check", "-c", f"{ROOT / 'constraints.txt'}"]
    run([f"{python}", "-m", "pip", "install", *options, what], folder)
    return python


def train(python: Path, folder: Path) -> None:
    """Train and evaluate an agent by the installed command."""
    memorax = f"{python.parent / 'memorax'}"
    version = run([memorax, "--version"], folder, capture=True).strip()
    where = run([f"{python}", "-c", "import memorax; print(memorax.__file__)"], folder, capture=True)
    assert f"memorax-{version}" in " ".join(path.name for path in (folder / "environment").rglob("memorax-*.dist-info"))
    assert where.startswith(f"{folder}"), f"{where.strip()} is not what was installed"
    run([memorax, *TRAIN.split(), "--folder", "run", "--loggers", "file"], folder)
    run([memorax, "evaluate", "run"], folder)


def run(command: Sequence[str], folder: Path, capture: bool = False) -> str:
    """Run a command in a folder; returns what it printed, where that is captured."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, check=True, text=True, capture_output=capture)
    return done.stdout if capture else ""


if __name__ == "__main__":
    main(*sys.argv[1:])
