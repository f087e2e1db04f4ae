"""The sections of a report that say how its runs were made, and what to know before believing the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from memorax.command import command_line
from memorax.evaluation.comparison import counted, task_name
from memorax.evaluation.curves import Group
from memorax.evaluation.pages import Block, Code, Heading, Items, Paragraph, Table
from memorax.evaluation.scores import Scores
from memorax.version import __version__

NOT_RECORDED = "not recorded"

FEW_SEEDS = 5
"""With fewer seeds in a task, percentile bootstrap intervals are known to be too narrow, and the report says so."""

SETTINGS_OF_TASKS = ("environment_options", "total_steps")
"""Settings that belong to a task: where runs differ in them between tasks alone, there is nothing to note."""


@dataclass(frozen=True)
class Run:
    """What a report says of a run: its folder, `config.json` and the table of its metrics."""

    folder: Path
    content: Mapping[str, Any]
    table: Mapping[str, np.ndarray]

    @property
    def total_steps(self) -> int:
        """Environment steps that were planned, 0 where that was not said."""
        return int(self.content.get("total_steps", self.content["config"].get("total_steps", 0)))

    @property
    def steps(self) -> int:
        """Environment steps that were taken."""
        return int(self.table["step"].max())

    @property
    def origins(self) -> list[Mapping[str, Any]]:
        """The surroundings in which the run was begun and resumed."""
        return [origin for origin in (self.content.get("origin"), *self.content.get("resumed", ())) if origin]


def how_runs_were_made(runs: Sequence[Run], groups: Sequence[Group]) -> list[Block]:
    """A table of the runs, the commands, and the versions and machines they ran on."""
    group_of = {seed.folder: group for group in groups for seed in group.seeds}
    columns = ("run", "task", "setting", "seeds", "environment steps", "parameters", "wall time", "begun", "device")
    rows = [
        (
            str(run.folder),
            task_name(group_of[run.folder].environment),
            group_of[run.folder].label,
            ", ".join(str(seed.seed) for seed in group_of[run.folder].seeds if seed.folder == run.folder),
            f"{run.steps:,}",
            ", ".join(f"{name} {count:,}" for name, count in run.content.get("parameters", {}).items()) or NOT_RECORDED,
            _duration(float(np.nanmax(run.table["seconds"]))),
            _recorded(run, "date"),
            _recorded(run, "device"),
        )
        for run in runs
    ]
    commands = [f"# {run.folder}\n" + "\n".join(_commands(run)) for run in runs]
    return [
        Heading("How the runs were made"),
        Paragraph("Environment steps are of each seed; parameters are those of each network of one seed."),
        Table(columns, rows),
        Heading("Commands", 3),
        Code("\n".join(commands)),
        Heading("Versions and hardware", 3),
        Items([*_shared_by(runs, _versions), *_shared_by(runs, _hardware)]),
        Heading("This report", 3),
        Code(f"{command_line()}\n# memorax {__version__}, numpy {np.__version__}, scipy {scipy.__version__}"),
    ]


def _commands(run: Run) -> list[str]:
    return list(dict.fromkeys(str(origin.get("command")) for origin in run.origins)) or ["# command not recorded"]


def _versions(origin: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in origin.get("versions", {}).items())
    return f"{versions or 'versions not recorded'}; commit {origin.get('commit') or 'not recorded'}"


def _hardware(origin: Mapping[str, Any]) -> str:
    return f"{origin.get('device', 'device not recorded')}; {origin.get('machine', 'machine not recorded')}"


def _shared_by(runs: Sequence[Run], describe: Callable[[Mapping[str, Any]], str]) -> list[str]:
    """Each description once, with the runs that it is of unless it is of all."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for text in dict.fromkeys(describe(origin) for origin in run.origins or [{}]):
            found.setdefault(text, []).append(str(run.folder))
    if len(found) == 1:
        return list(found)
    return [f"{text}: {', '.join(folders)}" for text, folders in found.items()]


def _recorded(run: Run, name: str) -> str:
    return " then ".join(dict.fromkeys(str(origin[name]) for origin in run.origins if name in origin)) or NOT_RECORDED


def notes(runs: Sequence[Run], groups: Sequence[Group], scores: Scores, silent: Sequence[Path] = ()) -> list[Block]:
    """What a reader must know before believing the numbers.

    Args:
        runs: the runs of the report.
        groups: their seeds.
        scores: their scores.
        silent: folders of runs that logged nothing.
    """
    found = [f"{folder} ended before it logged anything and is left out." for folder in silent]
    found += [
        f"{run.folder} reached step {run.steps:,} of {run.total_steps:,}: its seeds count with what they had reached."
        for run in runs
        if run.steps < run.total_steps
    ]
    for group in groups:
        of = f"{group.label} in {task_name(group.environment)}"
        if waiting := [str(seed.seed) for seed in group.seeds if not len(seed.steps)]:
            found.append(f"{of}: {_named_seeds(waiting)} had no value yet and are left out.")
        if lost := [str(seed.seed) for seed in group.seeds if not np.isfinite(seed.values[-scores.last :]).all()]:
            found.append(f"{of}, {_named_seeds(lost)}: a last value is NaN or infinite, which counts as a score of 0.")
        if any(seed.unfinished for seed in group.seeds):
            found.append(f"{of}: evaluations were too short, and episodes count with the return they had reached.")
    found += _missing(scores)
    for setting in scores.settings:
        in_tasks = [group.settings for (label, _), group in scores.groups.items() if label == setting]
        of_tasks = [name for name in SETTINGS_OF_TASKS if not any(name in _differing(runs) for runs in in_tasks)]
        differing = _differing([run for runs in in_tasks for run in runs])
        if names := [name.replace("_", " ") for name in differing if name not in of_tasks]:
            found.append(f"{setting}: its runs differ in {', '.join(names)}.")
    derived = [task_name(task) for task, bounds in scores.bounds.items() if bounds.source not in ("given", "known")]
    if derived:
        found.append(
            f"The scale of {', '.join(derived)} is the range of these runs: its scores compare with no other report."
        )
    complete = "Every setting has as many seeds in every task, and every run is complete."
    return [Heading("Notes"), Items(found or [complete])]


def _missing(scores: Scores) -> list[str]:
    """Notes on tasks without runs of a setting, and on numbers of seeds that are small or unlike each other."""
    notes = []
    for setting in scores.settings:
        if absent := [task_name(task) for task in scores.tasks if (setting, task) not in scores.groups]:
            notes.append(f"{setting} has no runs in {', '.join(absent)}: the aggregates leave these tasks out.")
    counts = {key: len(group.seeds) for key, group in scores.groups.items()}
    most = max(counts.values())
    for (setting, task), count in counts.items():
        if count < most:
            notes.append(
                f"{setting} has {counted(count, 'seed')} in {task_name(task)}, where others have up to {most}."
            )
    if min(counts.values()) == 1:
        notes.append("A single seed gives no interval, neither of its task nor of what it is aggregated into.")
    elif min(counts.values()) < FEW_SEEDS:
        notes.append(f"With fewer than {FEW_SEEDS} seeds in a task, bootstrap intervals of that task are too narrow.")
    return notes


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of settings in which runs differ."""
    names = dict.fromkeys(name for setting in settings for name in setting if name != "run")
    return [name for name in names if len({json.dumps(setting.get(name)) for setting in settings}) > 1]


def _named_seeds(seeds: Sequence[str]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
