"""`memorax export`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.deployment.export import export_run


def main(arguments: list[str]) -> int:
    """Write the policy of a run to a folder."""

    def command(run: tyro.conf.Positional[Path], folder: tyro.conf.Positional[Path], seed: int | None = None) -> None:
        """Write the policy of a run's agent to a folder that acts without the code that trained it.

        It is that of the last complete checkpoint: StableHLO for CPUs, GPUs of NVIDIA and TPUs and any number of
        environments, parameters as safetensors, and manifest.json. `memorax.load_policy(FOLDER)` loads it.

        Args:
            run: Folder of the run.
            folder: Folder to write, which holds no exported policy yet.
            seed: Random seed of the agent. Default: the first of the run.
        """
        path = export_run(run, folder, seed)
        for file in sorted(path.iterdir()):
            print(f"{file}  {file.stat().st_size:,} bytes")

    return call_command(command, "export", arguments)
