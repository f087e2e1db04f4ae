"""The table of docs/audit.md: `python -m benchmarks.audits`.

Audits ten tasks of four suites, some of which are named memory tasks, and writes what was found to the page. It goes on
where it was stopped.
"""

from __future__ import annotations

import datetime
import importlib.metadata
from pathlib import Path

import tyro

from memorax.cli.benchmark import progress_shown
from memorax.evaluation.pages import Items, Table, markdown
from memorax.laboratory.audit import Audit, AuditConfig, audit_tasks, parse_tasks
from memorax.laboratory.audit_page import COLUMNS, audit_reasons, audit_rows, write_audit
from memorax.laboratory.executors import make_executor
from memorax.training.options import Steps
from memorax.version import __version__

PAGE = Path(__file__).parent.parent / "docs" / "audit.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

TASKS = (
    *("memory::TMaze", "length=5"),
    "memory::RecallHorizon-8",
    "popgym::RepeatPreviousEasy",
    "popgym::HigherLowerEasy",
    "popgym::VelocityOnlyCartPoleEasy",
    "gymnax::CartPole-v1",
    *("gymnax::Pendulum-v1", "mask_observation=0,1"),
    "gymnax::MemoryChain-bsuite",
    "gymnax::UmbrellaChain-bsuite",
    *("gymnasium::CartPole-v1", "mask_observation=0,2"),
)
"""Environments, each followed by its options."""

PACKAGES = ("jax", "flax", "optax", "gymnax", "gymnasium")


def main(
    total_steps: Steps = 100_000,
    num_seeds: int = 5,
    evaluation_steps: Steps = AuditConfig.evaluation_steps,
    folder: Path = Path("runs/audits"),
    workers: int | None = None,
) -> None:
    """Audit the tasks, and rewrite the table of docs/audit.md.

    Args:
        total_steps: Environment steps that each seed of each agent is trained for.
        num_seeds: Number of seeds of each agent.
        evaluation_steps: Environment steps in which each seed is measured.
        folder: Folder of the runs.
        workers: Most runs that are trained at the same time. Default: one for each core.
    """
    config = AuditConfig(
        parse_tasks(TASKS), total_steps=total_steps, num_seeds=num_seeds, evaluation_steps=evaluation_steps
    )
    with progress_shown() as tell:
        found = audit_tasks(config, folder, make_executor("local", workers), tell)
    write_audit(found, folder)
    PAGE.write_text(with_section(PAGE.read_text(), section(found, datetime.date.today())))


def section(found: Audit, date: datetime.date) -> str:
    """What was found, as Markdown."""
    config = found.config
    command = " ".join(task.label for task in config.tasks)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    found_of_each = markdown([Table(COLUMNS, audit_rows(found)), Items(audit_reasons(found))], "")
    steps = f"--total-steps {config.total_steps} --num-seeds {config.num_seeds}"
    if config.evaluation_steps != AuditConfig.evaluation_steps:
        steps += f" --evaluation-steps {config.evaluation_steps}"
    return (
        f"## What {len(config.tasks)} tasks need\n\nMade on {date} with memorax {__version__}, {versions} by\n\n"
        f"```sh\nmemorax audit {command} {steps}\n```\n\n"
        f"Brackets are 95 % intervals of the mean over seeds. `python -m benchmarks.audits` audits "
        f"{len(parse_tasks(TASKS))} tasks and writes them here.\n\n{found_of_each}"
    )


def with_section(page: str, section: str) -> str:
    """A page with a section between the marks, in the place of the one before or at its end."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before.rstrip()}\n\n{BEGIN}\n{section.strip()}\n{END}\n{after.lstrip()}"


if __name__ == "__main__":
    tyro.cli(main)
