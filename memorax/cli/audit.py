"""`memorax audit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.cli.benchmark import progress_shown
from memorax.evaluation.verdict import MARGIN
from memorax.laboratory.audit import AuditConfig, audit_tasks, parse_tasks
from memorax.laboratory.audit_page import COLUMNS, audit_reasons, audit_rows, write_audit
from memorax.laboratory.executors import make_executor
from memorax.training.options import Steps


def main(arguments: list[str]) -> int:
    """Audit tasks; the exit code is 1 where some run failed."""
    failed: list[str] = []

    def command(
        environments: tyro.conf.Positional[tuple[str, ...]],
        total_steps: Steps = AuditConfig.total_steps,
        num_seeds: int = AuditConfig.num_seeds,
        torso: str = AuditConfig.torso,
        learning_rate: float = AuditConfig.learning_rate,
        evaluation_steps: Steps = AuditConfig.evaluation_steps,
        margin: float = MARGIN,
        folder: Path = Path("runs/audit"),
        workers: int | None = None,
    ) -> None:
        """Find out whether tasks need memory.

        Trains PPO without memory, with the last 8 observations and with a recurrent torso, and compares their returns
        with each other and with random play: memory is not needed, helps, or that is undecided. The same command goes
        on after Ctrl-C. docs/audit.md has the rule.

        Args:
            environments: Ids of environments, each followed by its options as NAME=VALUE, such as gymnax::CartPole-v1
                mask_observation=0,2.
            total_steps: Environment steps that each seed of each agent is trained for.
            num_seeds: Number of seeds of each agent.
            torso: Name of the recurrent agent's torso.
            learning_rate: Learning rate of every network; it falls to zero over the run.
            evaluation_steps: Environment steps in which each seed is measured, over all 16 environments.
            margin: Part of the way from random play to the best agent that the memoryless agent may be behind and
                count as doing as well.
            folder: Folder of the runs, of the table audit.md and of the page audit.html.
            workers: Most runs that are trained at the same time. Default: one for each core.
        """
        config = AuditConfig(
            tasks=parse_tasks(environments),
            total_steps=total_steps,
            num_seeds=num_seeds,
            torso=torso,
            learning_rate=learning_rate,
            margin=margin,
            evaluation_steps=evaluation_steps,
        )
        with progress_shown() as tell:
            found = audit_tasks(config, folder, make_executor("local", workers), tell)
        failed.extend(each.task.label for each in found.tasks if each.failures)
        page = write_audit(found, folder)
        lines = [*aligned([COLUMNS, *audit_rows(found)]), *audit_reasons(found)]
        print("\n".join([*lines, f"everything is in {folder}, this table and its rule in {page}"]))

    call_command(command, "audit", arguments)
    return 1 if failed else 0


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
