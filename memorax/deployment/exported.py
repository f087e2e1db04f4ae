"""Policies that were exported: programs and arrays in a folder. Nothing in it is executed but the programs."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.deployment.manifest import CARRY_FILE, PARAMS_FILE, PROGRAM_FILES, read_manifest
from memorax.deployment.program import Arrays, Program
from memorax.environments.space_json import space_from_json
from memorax.installation import install_command
from memorax.types import Array, Key, PyTree

KEY_WORDS = 2
"""Words of 32 bits in a key of the random numbers that exported programs draw, `threefry2x32`."""


@dataclass(frozen=True)
class ExportedProgram(Program):
    """The programs in a folder.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def step(
        self,
        params: Arrays,
        observation: PyTree,
        carry: Arrays,
        done: Array,
        previous_action: Array | None = None,
        previous_reward: Array | None = None,
        key: Key | None = None,
    ) -> tuple[PyTree, Arrays]:
        if previous_action is not None:
            carry = {**carry, "previous_action": jnp.asarray(previous_action, carry["previous_action"].dtype)}
        if previous_reward is None:
            previous_reward = jnp.zeros(jnp.shape(done), jnp.float32)
        arguments = (params, observation, carry, done, previous_reward)
        if key is None:
            return self._greedy(*arguments)
        return self._sampling(*arguments, jax.random.key_data(key)[:KEY_WORDS])

    @functools.cached_property
    def _greedy(self) -> Callable[..., Any]:
        return self._compiled("greedy")

    @functools.cached_property
    def _sampling(self) -> Callable[..., Any]:
        return self._compiled("sampling")

    def _compiled(self, name: str) -> Callable[..., Any]:
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
