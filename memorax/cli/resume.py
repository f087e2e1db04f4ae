"""`memorax resume`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.cli.processes import together
from memorax.cli.train import report
from memorax.training import resume_run
from memorax.training.devices import cores_to_devices
from memorax.training.folder import load_config
from memorax.training.options import Steps, Switch


def main(arguments: list[str]) -> int:
    """Continue a run."""

    def command(
        run: tyro.conf.Positional[Path],
        total_steps: Steps | None = None,
        debug: Switch = False,
        devices: int | None = None,
        coordinator: str | None = None,
        num_processes: int | None = None,
        process_id: int | None = None,
    ) -> None:
        """Continue a run from its last complete checkpoint.

        Args:
            run: Folder of the run.
            total_steps: Environment steps to train each agent for, counted from the beginning of the run. Default: as
                many as the run was started with.
            debug: Find the operation that makes the first NaN or infinity; the run takes twice the memory.
            devices: Number of devices that the agents are spread over. Default: as the run was started.
            coordinator: Address HOST:PORT of the first of several processes that train the run together, or auto where
                the scheduler of a cluster says it. Default: one process.
            num_processes: Number of these processes.
            process_id: Number of this process, from 0.
        """
        cores_to_devices(load_config(run).devices if devices is None else devices)
        with together(run, coordinator, num_processes, process_id):
            report(run, resume_run(run, total_steps, debug=debug, devices=devices))

    return call_command(command, "resume", arguments)
