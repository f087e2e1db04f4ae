"""`memorax benchmark`."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import jax
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from memorax.cli.arguments import call_command
from memorax.laboratory import Grid, GridReport, read_grid, run_grid
from memorax.laboratory import scheduler as scheduling
from memorax.laboratory.executors import make_executor
from memorax.laboratory.matching import count_all, match_parameters
from memorax.training.options import Options, Switch


def main(arguments: list[str]) -> int:
    """Run a grid of settings; the exit code is 1 where some failed."""
    failed: list[object] = []

    def command(
        grid: tyro.conf.Positional[Path],
        folder: Path | None = None,
        workers: int | None = None,
        executor: Annotated[str, tyro.conf.arg(metavar="{local,slurm,ray}")] = "local",
        executor_options: Options = {},  # noqa: B006 - tyro shows it, and nobody changes it
        ray: str | None = None,
        match_parameters: Switch = False,
        dry_run: Switch = False,
    ) -> None:
        """Train a grid of settings: environments x algorithms x torsos x hyperparameters, each with several seeds.

        The seeds of a setting are one program, and settings are trained side by side. What is complete is skipped, so
        that the same command goes on after Ctrl-C, a crash or a failure. docs/laboratory.md shows a grid.

        Args:
            grid: YAML or Python file that declares the grid.
            folder: Folder of the run folders. Default: runs/ and the grid's name.
            workers: Most settings that are trained at the same time. Default: one for each core, or as many as the
                cluster takes.
            executor: Where settings are trained: in processes on this machine, as jobs of SLURM, or as tasks of Ray.
            executor_options: Options of the executor, each as NAME=VALUE, such as slurm_partition=cpu timeout_min=60
                cpus_per_task=4 for SLURM, num_cpus=4 num_gpus=1 for Ray.
            ray: Address of a Ray cluster to train on, in place of --executor; auto for the one that this machine is in.
            match_parameters: Give each torso the width at which all networks together have as many parameters as with
                the first torso of the same environment and algorithm, within 10 %.
            dry_run: Show the settings and their parameters, and train nothing.
        """
        failed.extend(_run(grid, folder, workers, executor, executor_options, ray, match_parameters, dry_run).failed)

    call_command(command, "benchmark", arguments)
    return 1 if failed else 0


def _run(
    path: Path,
    folder: Path | None,
    workers: int | None,
    executor: str,
    executor_options: Options,
    ray: str | None,
    match: bool,
    dry_run: bool,
) -> GridReport:
    if ray is not None:
        executor, executor_options = "ray", {"address": ray, **executor_options}
    # An executor that cannot be used is told before parameters are counted, which takes a while.
    made = None if dry_run else make_executor(executor, workers, executor_options)
    grid = read_grid(path)
    if match or dry_run:
        # Only shapes are computed here: the memory of GPUs is for the runs.
        jax.config.update("jax_platforms", "cpu")
        print(f"counting the parameters of {len(grid.settings)} settings", file=sys.stderr, flush=True)
    if match:
        grid = match_parameters(grid)
    elif dry_run:
        grid = count_all(grid)
    if match or dry_run:
        print("\n".join(describe(grid)), flush=True)
    if made is None:
        return GridReport()
    folder = Path("runs") / grid.name if folder is None else folder
    with progress_shown() as tell:
        report = run_grid(grid, folder, made, tell)
    print(f"{len(report.completed)} settings trained, {len(report.skipped)} complete before: {folder}")
    for setting, message in report.failed:
        print(f"failed: {setting.name}: {message} ({folder / setting.name})")
    return report


def describe(grid: Grid) -> list[str]:
    """A line for each setting: its name, its width and its number of parameters."""
    width = max(len(setting.name) for setting in grid.settings)
    return [
        f"{setting.name:{width}}  features {setting.config.features:4d}  parameters {setting.parameters or 0:10,d}"
        for setting in grid.settings
    ]


@contextmanager
def progress_shown() -> Iterator[Callable[[scheduling.Progress], None]]:
    """A bar with what is done and the time left; where the output is no terminal, only a line for each event."""
    console = Console(soft_wrap=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}")
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("grid", total=None, state="")

        def tell(progress: scheduling.Progress) -> None:
            state = describe_progress(progress)
            bar.update(task, total=progress.total, completed=progress.complete + progress.failed, state=state)
            if progress.news is not None:
                console.print(f"{progress.news} ({state})", markup=False, highlight=False)

        yield tell


def describe_progress(progress: scheduling.Progress) -> str:
    """Progress in words, such as "3 of 8 complete, 2 running, 1 failed, 0:04:10 left"."""
    parts = [f"{progress.complete} of {progress.total} complete", f"{progress.running} running"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.seconds_left:
        parts.append(f"{datetime.timedelta(seconds=round(progress.seconds_left))} left")
    return ", ".join(parts)
