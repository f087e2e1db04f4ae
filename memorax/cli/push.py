"""`memorax push`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.deployment.push import push_run
from memorax.training.options import CheckpointStep


def main(arguments: list[str]) -> int:
    """Share the policy of a run."""

    def command(
        run: tyro.conf.Positional[Path],
        target: tyro.conf.Positional[str],
        seed: int | None = None,
        step: CheckpointStep = "last",
        private: tyro.conf.FlagCreatePairsOff[bool] = False,
    ) -> None:
        """Share the policy of a run on the Hugging Face Hub, as `memorax export` writes it, with a page about it.

        What was shared is loaded by `memorax.load_policy("hub:OWNER/NAME")`. MEMORAX_HUB names a directory to use in
        place of the Hub.

        Args:
            run: Folder of the run.
            target: `hub:NAME` or `hub:OWNER/NAME`.
            seed: Random seed of the agent. Default: the first of the run.
            step: Checkpoint to use: the last complete one, the one with the best mean evaluation return, or that of a
                number of steps.
            private: Let nobody else see it.
        """
        print(push_run(run, target, seed, step, private))

    return call_command(command, "push", arguments)
