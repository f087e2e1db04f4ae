"""`memorax export`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.deployment.export import export_run
from memorax.deployment.manifest import read_manifest
from memorax.training.options import CheckpointStep


def main(arguments: list[str]) -> int:
    """Write the policy of a run to a folder."""

    def command(
        run: tyro.conf.Positional[Path],
        folder: tyro.conf.Positional[Path],
        seed: int | None = None,
        step: CheckpointStep = "last",
    ) -> None:
        """Write the policy of a run's agent to a folder that acts without the code that trained it.

        The folder holds StableHLO for CPUs, GPUs of NVIDIA and TPUs and any number of environments; ONNX, where the
        package onnx is installed; parameters as safetensors, and manifest.json. `memorax.load_policy(FOLDER)` loads it.

        Args:
            run: Folder of the run.
            folder: Folder to write, which holds no exported policy yet.
            seed: Random seed of the agent. Default: the first of the run.
            step: Checkpoint to use: the last complete one, the one with the best mean evaluation return, or that of a
                number of steps.
        """
        path = export_run(run, folder, seed, step)
        for file in sorted(path.iterdir()):
            print(f"{file}  {file.stat().st_size:,} bytes")
        onnx = read_manifest(path)["programs"]["onnx"]
        if onnx["file"] is None:
            print(f"no ONNX: {onnx['reason']}")

    return call_command(command, "export", arguments)
