"""Policies that were exported: programs and arrays in a folder. Nothing in it is executed but the programs."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memorax.deployment.manifest import CARRY_FILE, PARAMS_FILE, PROGRAM_FILES, read_manifest
from memorax.deployment.program import Program, Step
from memorax.environments.space_json import space_from_json
from memorax.installation import install_command

KEY_WORDS = 2
"""Words of 32 bits in a key of the random numbers that exported programs draw, `threefry2x32`."""


@dataclass(frozen=True)
class ExportedProgram(Program):
    """The programs in a folder.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def compiled(self, sampling: bool) -> Step:
        return self._sampling if sampling else self._greedy

    @functools.cached_property
    def _greedy(self) -> Step:
        return self._loaded("greedy")

    @functools.cached_property
    def _sampling(self) -> Step:
        sample = self._loaded("sampling")
        return lambda *arguments: sample(*arguments[:-1], jax.random.key_data(arguments[-1])[:KEY_WORDS])

    def _loaded(self, name: str) -> Step:
        path = self.folder / PROGRAM_FILES[name]
        if not path.is_file():
            raise ValueError(f"{self.folder} holds no {path.name}: its manifest says why")
        return jax.jit(require("jax.export").deserialize(bytearray(path.read_bytes())).call)


def load_exported(folder: Path) -> ExportedProgram:
    """Load the programs that `export_policy` wrote.

    Raises:
        ValueError: if the folder holds no exported policy.
        ImportError: if a package is missing, naming the command that installs it.
    """
    manifest = read_manifest(folder)
    load_file = require("safetensors.flax").load_file
    return ExportedProgram(
        observation_space=space_from_json(manifest["observation_space"]),
        action_space=space_from_json(manifest["action_space"]),
        num_agents=manifest["num_agents"],
        params=load_file(folder / PARAMS_FILE),
        first_carry={name: np.asarray(rows) for name, rows in load_file(folder / CARRY_FILE).items()},
        folder=folder,
    )


def require(module: str, extra: str = "export") -> Any:
    """A module of a package that exported policies need.

    Args:
        module: name of the module.
        extra: the optional part of memorax that the package belongs to.

    Raises:
        ImportError: if a package is missing, in one line with the command that installs it.
    """
    try:
        if module == "jax.export":
            importlib.import_module("flatbuffers")
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"exported policies need the package {error.name!r}: {install_command(extra)}") from error
