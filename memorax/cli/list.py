"""`memorax list`."""

from __future__ import annotations

import tyro

from memorax.algorithms import ALGORITHMS
from memorax.environments.make import registered
from memorax.loggers import LOGGERS
from memorax.networks import TORSOS


def main(arguments: list[str]) -> int:
    """Show what there is to choose from."""

    def command() -> None:
        """Show environments, algorithms, torsos and loggers."""
        print("environments")
        for suite, ids in registered().items():
            for line in [f"{suite}: {ids}"] if isinstance(ids, str) else [f"{suite}::{name}" for name in ids]:
                print(f"  {line}")
        for title, members in (("algorithms", ALGORITHMS), ("torsos", TORSOS), ("loggers", LOGGERS)):
            print(title)
            for name in members:
                print(f"  {name}")

    tyro.cli(command, prog="memorax list", args=arguments)
    return 0
