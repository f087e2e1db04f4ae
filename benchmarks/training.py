"""PPO with a GRU on one environment of every suite: `python -m benchmarks.training [--suites ale brax]`.

Runs `memorax train` for each, to its end, and prints how fast it trained and what it came to. Suites that are not
installed are named and left out.
"""

from __future__ import annotations

import csv
import itertools
import math
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console

from benchmarks.environments import EXAMPLES, Example
from memorax.environments.make import load

HEADER = ("environment", "steps/s", "first return", "last return", "evaluation return", "minutes")
NUM_ENVS = 12  # a multiple of the minibatches


@dataclass(frozen=True)
class Options:
    """What to train on, and for how long."""

    suites: list[str] = field(default_factory=lambda: list(EXAMPLES))
    total_steps: int = 50_000
    evaluation_steps: int = 1024 * NUM_ENVS


def arguments(suite: str, example: Example, folder: Path, total_steps: int, evaluation_steps: int) -> list[str]:
    """Those of `memorax train`; there is one evaluation, at the end."""
    settings = [f"{name}={value}" for name, value in example.options.items()]
    return [
        *("--environment", f"{suite}::{example.id}"),
        *(("--environment-options", *settings) if settings else ()),
        *("--total-steps", str(total_steps)),
        *("--num-envs", str(NUM_ENVS)),
        *("--evaluation-interval", str(total_steps)),
        *("--evaluation-steps", str(evaluation_steps)),
        *("--loggers", "file"),
        *("--folder", str(folder)),
    ]


def read(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics."""
    with (folder / "metrics.csv").open() as lines:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(lines)]


def steps_per_second(rows: list[dict[str, float]]) -> float:
    """The median between two rows: what is compiled and evaluated falls into the first and the last."""
    between = [
        (after["step"] - before["step"]) / (after["seconds"] - before["seconds"])
        for before, after in itertools.pairwise(rows[:-1])
    ]
    return statistics.median(between) if between else math.nan


def train(suite: str, example: Example, options: Options) -> tuple[str, ...]:
    """One run in a process of its own, as a row of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        settings = arguments(suite, example, folder, options.total_steps, options.evaluation_steps)
        begin = time.monotonic()
        subprocess.run([sys.executable, "-m", "memorax", "train", *settings], check=True, stdout=subprocess.DEVNULL)
        minutes = (time.monotonic() - begin) / 60
        rows = read(folder)
    returns = [row["return"] for row in rows if not math.isnan(row["return"])]
    last = (*(returns[:1] or [math.nan]), *(returns[-1:] or [math.nan]), rows[-1]["evaluation_return"])
    speed = f"{float(f'{steps_per_second(rows):.2g}'):,.0f}".replace(",", " ")
    return f"{suite}::{example.id}", speed, *(f"{value:.3g}" for value in last), f"{minutes:.1f}"


def main(options: Options) -> None:
    """Train on each, and print the table, a row at a time."""
    console = Console()
    for row in (HEADER, ("---",) * len(HEADER)):
        console.print("| " + " | ".join(row) + " |", highlight=False, soft_wrap=True)
    for suite in options.suites:
        try:
            load(suite)
        except ImportError as error:
            console.print(f"{suite}: {error}", highlight=False, soft_wrap=True)
            continue
        row = train(suite, EXAMPLES[suite], options)
        console.print("| " + " | ".join(row) + " |", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
