"""Writes policies to folders that act without the code that trained them."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.deployment.acting import AgentProgram
from memorax.deployment.exported import KEY_WORDS, require
from memorax.deployment.loading import load_program
from memorax.deployment.manifest import (
    CARRY_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    PARAMS_FILE,
    PROGRAM_FILES,
    write_manifest,
)
from memorax.deployment.onnx_export import onnx_model
from memorax.deployment.onnx_graph import OPSET
from memorax.deployment.policy import Policy
from memorax.deployment.program import Arrays
from memorax.environments.space_json import space_to_json
from memorax.evaluation.runs import CONFIG_FILE
from memorax.training.folder import folder_path
from memorax.types import PyTree
from memorax.validation import described
from memorax.version import __version__

if TYPE_CHECKING:
    from memorax.training.checkpoints import Step

PLATFORMS = ("cpu", "cuda", "tpu")
PACKAGES = ("jax", "jaxlib", "flax", "numpy")


def export_policy(policy: Policy, folder: str | Path, training: Mapping[str, Any] | None = None) -> Path:
    """Write a policy to a folder that acts without the code of its networks, for CPUs, GPUs of NVIDIA and TPUs.

    Args:
        policy: the policy of an agent, as `load_policy` loads it from a run.
        folder: the folder, which holds no exported policy yet.
        training: how it was trained, as JSON holds it, for the manifest.

    Returns:
        The folder: programs as StableHLO for any number of rows, and as ONNX where the package `onnx` is installed and
        every operation has a counterpart; parameters and first carry as safetensors; and `manifest.json`, which
        describes them.

    Raises:
        ValueError: if this is no policy, or one that was loaded from such a folder; or if the folder is none, or holds
            an exported policy or a run.
        ImportError: if a package is missing, naming the command that installs it.
    """
    if not isinstance(policy, Policy):
        raise ValueError(f"policy ({described(policy)}) must be a policy, as load_policy loads it from a run")
    program, path = policy.program, folder_path("folder", folder)
    if not isinstance(program, AgentProgram):
        raise ValueError("policy was exported before: copy the folder it was loaded from")
    if (path / MANIFEST_FILE).exists():
        raise ValueError(f"folder ({path}) holds an exported policy: choose another folder")
    if (path / CONFIG_FILE).exists():
        raise ValueError(f"folder ({path}) holds a run, whose policy would no longer be found: choose another folder")
    if path.is_file():
        raise ValueError(f"folder ({path}) is a file: choose another name")
    save = require("safetensors.flax").save
    path.mkdir(parents=True, exist_ok=True)
    programs = {}
    for name, file in PROGRAM_FILES.items():
        (path / file).write_bytes(serialized_program(program, sampling=name == "sampling"))
        programs[name] = {"file": file, "platforms": list(PLATFORMS)}
    programs["onnx"] = _write_onnx(program, path)
    first_carry = {name: jnp.asarray(rows) for name, rows in program.first_carry.items()}
    # Written here, since the package makes files that nobody else may read.
    (path / PARAMS_FILE).write_bytes(save(program.params))
    (path / CARRY_FILE).write_bytes(save(first_carry))
    write_manifest(path, {**describe(program), "programs": programs, "training": dict(training or {})})
    return path


def _write_onnx(program: AgentProgram, folder: Path) -> dict[str, Any]:
    """Write the greedy policy as ONNX. Returns what the manifest says of it, or why there is none."""
    try:
        model = onnx_model(program)
    except (ImportError, NotImplementedError) as error:
        return {"file": None, "reason": str(error)}
    (folder / ONNX_FILE).write_bytes(model.SerializeToString())
    names = {"inputs": [x.name for x in model.graph.input], "outputs": [x.name for x in model.graph.output]}
    return {"file": ONNX_FILE, "opset": OPSET, **names}


def serialized_program(program: AgentProgram, sampling: bool) -> bytearray:
    """A program as StableHLO, of `(params, observation, carry, done, previous_reward)` and, to sample, key data.

    The number of rows is a variable of it.
    """
    export = require("jax.export")

    def sample(params: Arrays, observation: PyTree, carry: Arrays, done: Any, reward: Any, key_data: Any) -> Any:
        key = jax.random.wrap_key_data(key_data, impl="threefry2x32")
        return program.acting.step(params, observation, carry, done, reward, key)

    (environments,) = export.symbolic_shape("environments")
    arguments = program.step_shapes(environments * program.num_agents)
    if sampling:
        arguments = (*arguments, jax.ShapeDtypeStruct((KEY_WORDS,), jnp.uint32))
    exported = export.export(jax.jit(sample if sampling else program.acting.step), platforms=PLATFORMS)(*arguments)
    return exported.serialize()


def describe(program: AgentProgram) -> dict[str, Any]:
    """What a manifest says of a program."""
    interface = program.acting.interface
    return {
        "observation_space": space_to_json(program.observation_space),
        "action_space": space_to_json(program.action_space),
        "num_agents": program.num_agents,
        "carry": {name: _description(rows[0]) for name, rows in program.first_carry.items()},
        "params": {name: _description(array) for name, array in program.params.items()},
        "normalisation": [kind for kind in ("observation", "reward") if f"{kind}_statistics.mean" in program.params],
        "interface": interface.to_json(),
        "versions": {
            "memorax": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }


def _description(array: Any) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": np.dtype(array.dtype).name}


def export_run(run: str | Path, folder: str | Path, seed: int | None = None, step: Step = "last") -> Path:
    """Export the policy of a run; see `export_policy`.

    Args:
        run: the folder of the run.
        folder: the folder to write.
        seed: random seed of the agent; by default the first of the run.
        step: which checkpoint of the run; see `load_run`.

    Raises:
        ValueError: if there is no run, no checkpoint or no such seed, or the folder holds an exported policy.
        ImportError: if a package is missing, naming the command that installs it.
    """
    program, trained = load_program(Path(run), seed, step)
    return export_policy(Policy(program), folder, {**describe_training(Path(run), seed), "step": trained})


def describe_training(run: Path, seed: int | None = None) -> dict[str, Any]:
    """How an agent was trained and what it reached: settings, surroundings, and its returns along training."""
    from memorax.evaluation.runs import has_metrics
    from memorax.training.record import read_record

    record = read_record(run)
    seed = record.seed if seed is None else seed
    content = dataclasses.asdict(record)
    facts = {name: content[name] for name in ("id", "name", "total_steps", "tags", "config", "origin", "parameters")}
    evaluations = _evaluations(run, seed) if has_metrics(run) else []
    return {**facts, "seed": seed, "evaluations": evaluations}


def _evaluations(run: Path, seed: int) -> list[dict[str, float]]:
    """The evaluations of an agent in training: step, mean return, which may be NaN, and number of episodes."""
    from memorax.evaluation.runs import read_metrics

    metrics = read_metrics(run)
    if "evaluation_return" not in metrics:
        return []
    rows = zip(*(metrics[name] for name in ("seed", "step", "evaluation_return", "evaluation_episodes")), strict=True)
    return [
        {"step": int(step), "return": float(value), "episodes": int(episodes)}
        for number, step, value, episodes in rows
        if number == seed and episodes > 0
    ]
