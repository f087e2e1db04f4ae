"""Whether tasks need memory: agents with and without one are trained by the same PPO and compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import memorax
from memorax.algorithms import PPOConfig
from memorax.environments.wrappers import WRAPPERS
from memorax.evaluation.runs import CONFIG_FILE, read_config
from memorax.evaluation.scores import KNOWN_BOUNDS
from memorax.evaluation.verdict import MARGIN, Verdict, decide
from memorax.laboratory.executors import Executor, make_executor
from memorax.laboratory.grid import Grid, Setting
from memorax.laboratory.measurement import Measurement, join_measurements, measure_random_play, measure_run
from memorax.laboratory.scheduler import Progress, run_grid
from memorax.training.config import TrainConfig
from memorax.training.options import parse_options

RUNS_FOLDER, RANDOM_FOLDER, RESULTS_FILE = "runs", "random_play", "audit.json"

MEMORYLESS, FRAME_STACK, RECURRENT = "memoryless", "frame stack", "recurrent"

NAMES_IN_SENTENCES = {FRAME_STACK: "the frame stack", RECURRENT: "the recurrent agent"}

NUM_FRAMES = 8
"""Observations that the frame stack sees."""

HYPERPARAMETERS = PPOConfig(num_envs=16, num_steps=128)


@dataclass(frozen=True)
class Task:
    """An environment with its options.

    Attributes:
        environment: id of the environment.
        options: its options and those of wrappers around it.
    """

    environment: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its id and its options, as the command line takes them."""
        return " ".join([self.environment, *(f"{name}={_text(value)}" for name, value in self.options.items())])

    @property
    def upper_bound(self) -> float | None:
        """A return that cannot be exceeded, where the suite is known to have one."""
        names = [name for name in KNOWN_BOUNDS if self.environment.startswith(name)]
        # A wrapper may have made another task of it.
        known = names and not any(option in WRAPPERS for option in self.options)
        return KNOWN_BOUNDS[max(names, key=len)][1] if known else None


@dataclass(frozen=True)
class AuditConfig:
    """What is audited, and how.

    Attributes:
        tasks: the tasks.
        total_steps: environment steps that each seed of each agent is trained for.
        num_seeds: seeds of each agent.
        torso: name of the recurrent agent's torso.
        features: width of the encoder and of the torso of each agent.
        learning_rate: learning rate of every network; it falls to zero over the run.
        margin: part of the way from random play to the best agent that the memoryless one may be behind and count as
            doing as well.
        evaluation_steps: environment steps, over all 16 environments, in which each seed is measured.
        hyperparameters: hyperparameters of PPO.
    """

    tasks: tuple[Task, ...]
    total_steps: int = 200_000
    num_seeds: int = 5
    torso: str = "gru"
    features: int = 64
    learning_rate: float = 1e-3
    margin: float = MARGIN
    evaluation_steps: int = 16 * 1024
    hyperparameters: PPOConfig = HYPERPARAMETERS

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("no task to audit: name at least one environment")
        labels = [task.label for task in self.tasks]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"task {twice[0]} is named twice: leave one of them out")
        if self.num_seeds < 2:
            raise ValueError(
                f"num_seeds ({self.num_seeds}) must be at least 2: one seed says nothing of how seeds differ"
            )
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin ({self.margin}) must be at least 0 and below 1")

    @property
    def agents(self) -> dict[str, dict[str, Any]]:
        """The settings in which the agents differ. Those that remember see the previous action and reward too."""
        history = {"previous_action": True, "previous_reward": True}
        return {
            MEMORYLESS: {"torso": "mlp"},
            FRAME_STACK: {"torso": "frame_stack", "torso_options": {"num_frames": NUM_FRAMES}, **history},
            RECURRENT: {"torso": self.torso, **history},
        }


@dataclass(frozen=True)
class TaskAudit:
    """What was found about a task.

    Attributes:
        task: the task.
        random: mean returns of random play, one for each seed.
        agents: what each agent does, by its name; an agent is missing where its training failed.
        failures: what went wrong, in one line, by the name of the agent.
        verdict: whether the task needs memory; None where an agent is missing.
    """

    task: Task
    random: np.ndarray
    agents: Mapping[str, Measurement]
    failures: Mapping[str, str]
    verdict: Verdict | None


@dataclass(frozen=True)
class Audit:
    """An audit of tasks.

    Attributes:
        config: what was audited, and how.
        tasks: what was found about each task.
        runs: folders of the runs of an agent in a task, by the labels of both.
    """

    config: AuditConfig
    tasks: tuple[TaskAudit, ...]
    runs: Mapping[tuple[str, str], tuple[Path, ...]]


def parse_tasks(words: Iterable[str]) -> tuple[Task, ...]:
    """Read tasks from words: an id, followed by options of its own as NAME=VALUE.

    Raises:
        ValueError: if an option comes before any id.
    """
    tasks: list[tuple[str, list[str]]] = []
    for word in words:
        if re.match(r"\w+=", word) is None:
            tasks.append((word, []))
        elif tasks:
            tasks[-1][1].append(word)
        else:
            raise ValueError(f"option {word} must follow the environment that it is an option of")
    return tuple(Task(environment, parse_options(options)) for environment, options in tasks)


def audit_tasks(
    config: AuditConfig,
    folder: str | Path,
    executor: Executor | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Audit:
    """Find out whether tasks need memory, and keep what was found in `audit.json` of a folder.

    Each task is played at random and learned by three agents with the same PPO: one without memory, one that sees the
    last observations, and a recurrent one. What was trained and measured before in the same folder is taken from there,
    so that an audit that was interrupted goes on.

    Args:
        config: what is audited, and how.
        folder: folder of the audit; its runs are in `runs/`.
        executor: what trains the runs; by default processes on this machine, one for each core.
        tell: function that is told of the progress of training.

    Raises:
        ValueError: if a task cannot be made, or the folder holds runs with other settings.
        ImportError: if the package of an environment is not installed.
        GridInterrupted: after a signal during training, once everything is saved.
    """
    folder = Path(folder)
    runs_folder = folder / RUNS_FOLDER
    settings = {(task.label, name): made for task in config.tasks for name, made in _settings(config, task).items()}
    grid = Grid("audit", tuple(setting for group in settings.values() for setting in group))
    for setting in grid.settings:
        _check_length(setting, runs_folder / setting.name)
    report = run_grid(grid, runs_folder, executor or make_executor("local"), tell)
    failures = {setting.name: message for setting, message in report.failed}
    runs = {key: tuple(runs_folder / setting.name for setting in group) for key, group in settings.items()}
    found = Audit(config, tuple(_audit_task(config, task, folder, runs, failures) for task in config.tasks), runs)
    (folder / RESULTS_FILE).write_text(json.dumps(_to_json(found), indent=2) + "\n")
    return found


def _settings(config: AuditConfig, task: Task) -> dict[str, list[Setting]]:
    """The runs of each agent in a task: one of all seeds, or one of each where the environment runs on the host."""
    on_host = memorax.make(task.environment, **task.options)[0].on_host
    shared = TrainConfig(
        hyperparameters=config.hyperparameters,
        environment=task.environment,
        environment_options=dict(task.options),
        features=config.features,
        learning_rate=config.learning_rate,
        anneal_lr=True,
        normalize_reward=True,
        total_steps=config.total_steps,
        evaluation_interval=config.total_steps,  # agents are measured afterwards
        evaluation_steps=config.evaluation_steps,
        loggers=("file",),
        group="audit",
    )
    settings: dict[str, list[Setting]] = {}
    for agent, changes in config.agents.items():
        name, made = _folder_name(f"{task.label} {agent}"), replace(shared, **changes)
        settings[agent] = (
            [Setting(f"{name}-{seed}", replace(made, seed=seed)) for seed in range(config.num_seeds)]
            if on_host
            else [Setting(name, replace(made, num_seeds=config.num_seeds))]
        )
    return settings


def _text(value: Any) -> str:
    """An option's value as the command line takes it without quotes."""
    several = isinstance(value, tuple) and len(value) > 1
    return ",".join(map(repr, value)) if several else str(value)


def _folder_name(text: str) -> str:
    return re.sub(r"[^\w.=+,]+", "-", text).strip("-")


def _check_length(setting: Setting, folder: Path) -> None:
    """Refuse to go on with a run of another length: its learning rate fell to zero by then."""
    if not (folder / CONFIG_FILE).exists():
        return
    before, now = read_config(folder)["config"].get("total_steps"), setting.config.total_steps
    if before != now:
        raise ValueError(
            f"{folder} holds a run of {before} steps, not {now}, and learning rates fall to zero over a run: choose "
            "another --folder"
        )


def _audit_task(
    config: AuditConfig,
    task: Task,
    folder: Path,
    runs: Mapping[tuple[str, str], Sequence[Path]],
    failures: Mapping[str, str],
) -> TaskAudit:
    agents: dict[str, Measurement] = {}
    failed: dict[str, str] = {}
    for agent in config.agents:
        folders = runs[task.label, agent]
        if bad := [failures[folder.name] for folder in folders if folder.name in failures]:
            failed[agent] = bad[0]
        else:
            agents[agent] = join_measurements([measure_run(folder, config.evaluation_steps) for folder in folders])
    random = measure_random_play(
        folder / RANDOM_FOLDER / _folder_name(task.label),
        task.environment,
        task.options,
        config.evaluation_steps,
        config.hyperparameters.num_envs,
        config.num_seeds,
    )
    verdict = None
    if not failed:
        remembering = {sentence: agents[agent].returns for agent, sentence in NAMES_IN_SENTENCES.items()}
        memoryless = agents[MEMORYLESS].returns
        verdict = decide(random, memoryless, remembering, config.total_steps, config.margin, task.upper_bound)
    return TaskAudit(task, random, agents, failed, verdict)


def _to_json(found: Audit) -> dict[str, Any]:
    """What was found as JSON holds it; returns of several seeds in the order of the seeds."""
    tasks = [
        {
            "environment": each.task.environment,
            "options": dict(each.task.options),
            "random": each.random.tolist(),
            "agents": {name: asdict(measurement) for name, measurement in each.agents.items()},
            "failures": dict(each.failures),
            "verdict": None if each.verdict is None else asdict(each.verdict),
        }
        for each in found.tasks
    ]
    settings = {name: value for name, value in asdict(found.config).items() if name != "tasks"}
    return {"config": settings, "tasks": tasks}
