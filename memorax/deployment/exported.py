"""Policies that were exported: programs and arrays in a folder. Nothing in it is executed but the programs."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.deployment.arguments import require_arrays
from memorax.deployment.manifest import CARRY_FILE, MANIFEST_FILE, PARAMS_FILE, PROGRAM_FILES, read_manifest
from memorax.deployment.program import Arrays, Program, Step
from memorax.environments.space_json import space_from_json
from memorax.environments.spaces import policy_space
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
        deserialize = require("jax.export").deserialize
        content = bytearray(_content(path))
        try:
            return jax.jit(deserialize(content).call)
        except Exception as error:  # What is raised depends on the place that is damaged.
            raise _damaged(path, error) from error


def load_exported(folder: Path) -> ExportedProgram:
    """Load the programs that `export_policy` wrote.

    Raises:
        ValueError: if the folder holds no exported policy, or a file of it is missing or damaged.
        ImportError: if a package is missing, naming the command that installs it.
    """
    manifest = read_manifest(folder)
    try:
        spaces = {name: space_from_json(manifest[name]) for name in ("observation_space", "action_space")}
        chosen_space = space_from_json(manifest["interface"]["chosen_space"])
        num_agents = int(manifest["num_agents"])
        params, carry = (_described_arrays(manifest[name]) for name in ("params", "carry"))
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder / MANIFEST_FILE, error) from error
    # The manifest describes the carry of one agent, the file has a row for each.
    first = {name: jax.ShapeDtypeStruct((num_agents, *row.shape), row.dtype) for name, row in carry.items()}
    return ExportedProgram(
        **spaces,
        previous_action_space=policy_space(chosen_space),
        num_agents=num_agents,
        params=_arrays(folder / PARAMS_FILE, params),
        first_carry={name: np.asarray(rows) for name, rows in _arrays(folder / CARRY_FILE, first).items()},
        folder=folder,
    )


def _described_arrays(descriptions: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        name: jax.ShapeDtypeStruct(tuple(each["shape"]), jnp.dtype(each["dtype"]))
        for name, each in descriptions.items()
    }


def _arrays(path: Path, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> Arrays:
    """The arrays in a file, which are those that the manifest describes."""
    load = require("safetensors.flax").load
    content = _content(path)
    try:
        arrays = load(content)
    except require("safetensors").SafetensorError as error:
        raise _damaged(path, error) from error
    require_arrays(str(path), arrays, wanted, f"so says {MANIFEST_FILE}; export the policy again")
    return arrays


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path} is missing: export the policy again")
    return path.read_bytes()


def _damaged(path: Path, error: Exception) -> ValueError:
    """The error of a file that is not as it was written; the cause may have several lines."""
    cause = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{path} is damaged ({cause}): export the policy again")


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
