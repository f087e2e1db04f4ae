"""Learning curves of runs as arrays: which runs are one setting, and their seeds on one grid of steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memorax.evaluation.facts import read_facts
from memorax.evaluation.runs import read_logged
from memorax.evaluation.tasks import differing_options, seen_options, task_of

SAME_SETTING = (
    *("seed", "num_seeds", "devices", "loggers", "checkpoint_seconds", "keep_checkpoints"),
    *("log_interval", "evaluation_interval", "evaluation_steps", "group", "tags"),
)
"""Settings in which the runs of one curve may differ: which seeds, and how they are watched."""

USUAL_ORIGIN = {"random_keys": "threefry2x32", "x64": False}
"""Surroundings that count as settings, and what they are in a run that does not say so."""

OF_THE_TASK = "environment_options"
"""A setting that the name of the task says, and no label."""


@dataclass(frozen=True)
class Curve:
    """The seeds of one setting in one task.

    Attributes:
        label: text that tells the setting from the others.
        environment: the task, as in `Group`.
        steps: environment steps `[N]`, increasing.
        values: `[seeds, N]`, interpolated between the steps at which a seed was logged; NaN where it was NaN.
        cut: whether some seed was logged beyond the last of `steps`, where another one ends.
        unfinished: whether evaluations counted episodes that they did not see the end of.
        waiting: how many more seeds there are, which have no value yet.
    """

    label: str
    environment: str
    steps: np.ndarray
    values: np.ndarray
    cut: bool = False
    unfinished: bool = False
    waiting: int = 0


@dataclass(frozen=True)
class Seed:
    """What one seed of a run logged.

    Attributes:
        seed: the random seed.
        folder: its run folder.
        steps: environment steps `[N]` at which there was a value; empty where there was none yet.
        values: `[N]`, NaN where the value was NaN.
        unfinished: whether evaluations counted episodes that they did not see the end of.
    """

    seed: int
    folder: Path
    steps: np.ndarray
    values: np.ndarray
    unfinished: bool


@dataclass(frozen=True)
class Group:
    """The seeds of one setting in one task, each as it was logged.

    Attributes:
        label: text that tells the setting from the others.
        environment: the task: id of the environment, empty where a run does not say it, and the options in which runs
            of this environment differ, such as "memory::TMaze length=20".
        seeds: at least one.
        settings: the settings of each of its runs, flat.
    """

    label: str
    environment: str
    seeds: tuple[Seed, ...]
    settings: tuple[Mapping[str, Any], ...]


def group_curves(
    folders: Sequence[Path], tables: Sequence[dict[str, np.ndarray]], metric: str, labels: Sequence[str] = ()
) -> list[Curve]:
    """Put the seeds of one setting together, as `group_runs` does, and on one grid of steps.

    Raises:
        ValueError: as `group_runs` does, and if seeds of one curve have no steps in common or none has a value.
    """
    return [_curve(group, metric) for group in group_runs(folders, tables, metric, labels)]


def group_runs(
    folders: Sequence[Path], tables: Sequence[dict[str, np.ndarray]], metric: str, labels: Sequence[str] = ()
) -> list[Group]:
    """Put the seeds of one setting together, each seed once.

    Without `labels`, runs that differ only in their seeds are one group, labelled by what tells it from others of the
    same task. A task is an environment and its options, but for those that only say how an agent sees it. A run whose
    agent was made in Python is a group of its own, as its config does not describe the agent.

    Args:
        folders: run folders.
        tables: metrics of each run, as `read_metrics` returns them.
        metric: a column of the tables.
        labels: a label for each run; runs of one task and one label are one group.

    Raises:
        ValueError: if a seed of a group is there twice, a metric is missing, or there is not one label for each run.
    """
    if labels and len(labels) != len(folders):
        raise ValueError(f"labels ({len(labels)}) must be one for each of the {len(folders)} runs")
    _check_named_once(folders)
    contents = [read_facts(folder) for folder in folders]
    tasks = [task_of(content) for content in contents]
    names_of_tasks = [
        f"{task.environment} {options}".strip() for task, options in zip(tasks, differing_options(tasks), strict=True)
    ]
    settings = [_setting(content, folder) for content, folder in zip(contents, folders, strict=True)]
    names = list(labels) or [json.dumps(setting, sort_keys=True) for setting in settings]
    groups: dict[tuple[str, str], list[int]] = {}
    for index, group in enumerate(zip(names_of_tasks, names, strict=True)):
        groups.setdefault(group, []).append(index)
    first = [indices[0] for indices in groups.values()]
    titles = (
        [labels[index] for index in first]
        if labels
        else _labels([settings[index] for index in first], [names_of_tasks[index] for index in first])
    )
    return [
        Group(
            title,
            task,
            _each_once([seed for i in indices for seed in _seeds(folders[i], tables[i], metric)], title),
            tuple(settings[i] for i in indices),
        )
        for title, ((task, _), indices) in zip(titles, groups.items(), strict=True)
    ]


def run_labels(folders: Sequence[Path], labels: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The environment of each run, and a label that tells the run from the others of the same environment.

    Args:
        folders: run folders.
        labels: a label for each run; by default what tells its settings from those of others, or its folder where
            nothing does.

    Raises:
        ValueError: if a run is named twice or is none, or there is not one label for each.
    """
    if labels and len(labels) != len(folders):
        raise ValueError(f"labels ({len(labels)}) must be one for each of the {len(folders)} runs")
    _check_named_once(folders)
    contents = [read_facts(folder) for folder in folders]
    tasks = [task_of(content) for content in contents]
    environments, options = [task.environment for task in tasks], differing_options(tasks)
    settings = [_setting(content, folder) for content, folder in zip(contents, folders, strict=True)]
    of_tasks = [f"{environment} {text}" for environment, text in zip(environments, options, strict=True)]
    # Here the options of a task are in the label, as the environment is told without them.
    named = [", ".join(filter(None, pair)) for pair in zip(_labels(settings, of_tasks), options, strict=True)]
    pairs = list(zip(environments, labels or named, strict=True))
    return [
        (environment, f"{label}, {folder}" if pairs.count((environment, label)) > 1 else label)
        for (environment, label), folder in zip(pairs, folders, strict=True)
    ]


def on_one_grid(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Bring curves that were logged at different steps to the steps of all of them, where all of them have values.

    The grid starts where the last curve starts and ends where the first one ends, so that a mean never changes because
    a curve drops out. Between its own steps a curve is interpolated linearly, and NaN next to a value that is NaN.

    Args:
        curves: pairs of steps (increasing) and values, each at least one long.

    Returns:
        Steps `[N]` and values `[curves, N]`; `N` is 0 where the curves have no range in common.
    """
    start = max(steps[0] for steps, _ in curves)
    end = min(steps[-1] for steps, _ in curves)
    union = np.unique(np.concatenate([steps for steps, _ in curves]))
    grid = union[(union >= start) & (union <= end)]
    values = np.array([np.interp(grid, steps, values) for steps, values in curves])
    return grid, values.reshape(len(curves), len(grid))


def _each_once(seeds: Sequence[Seed], label: str) -> tuple[Seed, ...]:
    """The seeds of a group, after a check that none is there twice."""
    found: dict[int, Seed] = {}
    for seed in seeds:
        if seed.seed in found:
            raise ValueError(
                f"seed {seed.seed} of {label!r} is in {found[seed.seed].folder} and in {seed.folder}: a seed counts "
                "once, leave one of the two out or label them apart"
            )
        found[seed.seed] = seed
    return tuple(seeds)


def _curve(group: Group, metric: str) -> Curve:
    label, seeds = group.label, group.seeds
    logged = [seed for seed in seeds if len(seed.steps)]
    if not logged:
        raise ValueError(f"{seeds[0].folder} has no value of {metric!r} yet")
    steps, values = on_one_grid([(seed.steps, seed.values) for seed in logged])
    if not len(steps):
        earliest = min(logged, key=lambda seed: seed.steps[-1])
        latest = max(logged, key=lambda seed: seed.steps[0])
        raise ValueError(
            f"seeds of {label!r} have no steps of {metric!r} in common: {earliest.folder} ends at step "
            f"{earliest.steps[-1]:.0f}, {latest.folder} begins at {latest.steps[0]:.0f}"
        )
    cut = any(seed.steps[-1] > steps[-1] for seed in logged)
    unfinished = any(seed.unfinished for seed in logged)
    return Curve(label, group.environment, steps, values, cut, unfinished, len(seeds) - len(logged))


def _seeds(folder: Path, table: dict[str, np.ndarray], metric: str) -> list[Seed]:
    """Each seed of a run."""
    evaluated = metric.startswith("evaluation_")
    unfinished = table.get("evaluation_unfinished") if evaluated else None
    # A run that goes on may have logged more since the table was read.
    logged = read_logged(folder, metric)[: len(table["seed"])]
    seeds = []
    for seed in np.unique(table["seed"]):
        chosen = logged & (table["seed"] == seed)
        cut_off = unfinished is not None and bool((unfinished[chosen] > 0).any())
        seeds.append(Seed(int(seed), folder, table["step"][chosen], table[metric][chosen], cut_off))
    return seeds


def _check_named_once(folders: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for folder in folders:
        path = folder.resolve()
        if path in seen:
            raise ValueError(f"{folder} is named twice: a run counts once")
        seen[path] = folder


def _setting(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings that tell a run from others, nested ones flat; also its folder where they describe no agent.

    A seed means something else for another kind of random keys, and numbers are others in double precision, so both
    are settings too.
    """
    config, origin = content["config"], content.get("origin", {})
    flat: dict[str, Any] = {} if "hyperparameters" in config else {"run": str(folder)}
    flat |= {name: origin.get(name, usual) for name, usual in USUAL_ORIGIN.items()}
    for name, value in config.items():
        if name == "hyperparameters":
            # One of an algorithm of one's own may be called as a setting of the run is.
            flat.update({f"{name}.{own}" if own in config else own: number for own, number in value.items()})
        elif name == OF_THE_TASK:
            flat[name] = dict(task_of(content).options)
        elif name not in (*SAME_SETTING, "environment"):
            flat[name] = value
    # Last, as an option takes the place of the setting of the same name, such as `normalize_observation`.
    return flat | seen_options(content)


def _labels(settings: Sequence[dict[str, Any]], environments: Sequence[str]) -> list[str]:
    """What tells each setting from others of its task.

    Where nothing does, it is the algorithm and torso, or the run. What differs between environments alone, such as the
    length of their runs, tells no setting from another; nor does what follows from the rest in each environment, but
    in each in another way, such as widths at which networks have equally many parameters.
    """
    names = [name for name in dict.fromkeys(name for setting in settings for name in setting) if name != OF_THE_TASK]
    told_apart = [
        name
        for name in names
        if len({(e, json.dumps(s.get(name))) for s, e in zip(settings, environments, strict=True)})
        > len(set(environments))
    ]
    for name in [name for name in told_apart if name not in SPEAK_FOR_THEMSELVES]:
        rest = [other for other in told_apart if other != name]
        values: dict[str, dict[str, set[str]]] = {}
        for setting, environment in zip(settings, environments, strict=True):
            of_rest = values.setdefault(json.dumps([setting.get(other) for other in rest]), {})
            of_rest.setdefault(environment, set()).add(json.dumps(setting.get(name)))
        follows = all(len(found) == 1 for of_rest in values.values() for found in of_rest.values())
        if follows and any(len(set.union(*of_rest.values())) > 1 for of_rest in values.values()):
            told_apart = rest
    return [_label(setting, told_apart) or _label(setting, ("run", "algorithm", "torso")) for setting in settings]


def _label(setting: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(_named(name, setting[name]) for name in names if name in setting)


SPEAK_FOR_THEMSELVES = ("algorithm", "torso", "run")
"""Settings whose values say what they are."""


def _named(name: str, value: Any) -> str:
    return str(value) if name in SPEAK_FOR_THEMSELVES else f"{name.replace('_', ' ')} {value}"
