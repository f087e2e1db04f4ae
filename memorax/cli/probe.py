"""`memorax probe`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.probing.page import PAGE_FILE, write_probes
from memorax.training.options import CheckpointStep


def main(arguments: list[str]) -> int:
    """Look into the memory of trained agents."""

    def command(
        runs: tyro.conf.Positional[tuple[Path, ...]],
        output: Path = Path(PAGE_FILE),
        label: tuple[str, ...] = (),
        seed: int | None = None,
        episodes: int = 32,
        step: CheckpointStep = "last",
    ) -> None:
        """Look into the memory of trained agents, and write one HTML page that compares runs side by side.

        It shows how much each past input matters, returns by how long must be remembered and without the memory, norms
        and time scales of the carry, what can be read from it, and how far stored carries have drifted.

        Args:
            runs: Folders of the runs.
            output: Page to write, a .html; or a folder, for probe.html in it.
            label: One label for each run, in the order of the runs. Default: the settings that differ between the
                runs.
            seed: Seed of the agent in each run that gradients and readouts are of; returns are of all its agents.
                Default: the first of the run.
            episodes: Number of environments side by side, whose episodes are looked at; at least 2.
            step: Checkpoint to use: the last complete one, the one with the best mean evaluation return, or that of a
                number of steps.
        """
        print(write_probes(runs, output, label, seed, episodes, step))

    return call_command(command, "probe", arguments)
