"""Searches for hyperparameters with Optuna: several workers on one study, each trial a run folder."""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memorax.files import write_whole
from memorax.installation import install_command
from memorax.laboratory.command_line import command_line
from memorax.laboratory.search_space import search_space, with_values
from memorax.training.callbacks import Event
from memorax.training.config import TrainConfig, config_from_json, config_to_json
from memorax.training.interruption import Interrupted
from memorax.training.run import run_config

SWEEP_FILE = "sweep.json"
JOURNAL_FILE = "study.journal"
REPORT_FILE = "report.md"

PROCESS, ERROR = "process", "error"
"""Names under which a trial keeps who trains it, and the error that it failed with."""


@dataclass(frozen=True)
class Sweep:
    """A search, as its workers read it from its folder.

    Attributes:
        folder: folder of the study and of the runs of its trials.
        config: the settings that all trials share.
        search: the words of the search space; see `search_space`.
        trials: number of trials.
        storage: URL of a database for the study; by default a journal file in the folder.
        pruning: whether a trial ends early whose evaluations are worse than the median of those before it.
    """

    folder: Path
    config: TrainConfig
    search: tuple[str, ...] = ()
    trials: int = 30
    storage: str | None = None
    pruning: bool = True

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials ({self.trials}) must be at least 1")
        search_space(self.config, self.search)

    def write(self) -> None:
        """Write it to its folder, which is made.

        Raises:
            ValueError: if the folder holds a search for something else.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {**vars(self), "folder": None, "config": config_to_json(self.config), "search": list(self.search)}
        path = self.folder / SWEEP_FILE
        if path.exists():
            before = json.loads(path.read_text())
            changed = [name for name in ("config", "search", "storage") if before[name] != content[name]]
            if changed:
                raise ValueError(
                    f"folder ({self.folder}) holds another sweep, whose {changed[0]} differs: choose another folder"
                )
        write_whole(path, json.dumps(content, indent=2) + "\n")


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a folder.

    Raises:
        ValueError: if there is none.
    """
    path = folder / SWEEP_FILE
    if not path.is_file():
        raise ValueError(f"folder ({folder}) holds no {SWEEP_FILE}: name the folder of a sweep")
    content = json.loads(path.read_text())
    config = config_from_json(content["config"], str(path))
    return Sweep(**{**content, "folder": folder, "config": config, "search": tuple(content["search"])})


def import_optuna() -> Any:
    """Optuna, which is an extra.

    Raises:
        ImportError: if it is not installed, naming the command that does.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError(f"memorax sweep needs optuna: {install_command('sweep')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(sweep: Sweep) -> Any:
    """The study of a sweep, made where there is none yet: by one process, before its workers start."""
    optuna = import_optuna()
    storage: Any = sweep.storage
    if storage is None:
        from optuna.storages.journal import JournalFileBackend

        storage = optuna.storages.JournalStorage(JournalFileBackend(str(sweep.folder / JOURNAL_FILE)))
    else:
        from sqlalchemy.pool import NullPool

        # Connections are closed as soon as they were used: those of a pool would stay open for as long as the process.
        storage = optuna.storages.RDBStorage(storage, engine_kwargs={"poolclass": NullPool})
    pruner = optuna.pruners.MedianPruner() if sweep.pruning else optuna.pruners.NopPruner()
    name = sweep.folder.absolute().name
    study = optuna.create_study(
        study_name=name, storage=storage, pruner=pruner, direction="maximize", load_if_exists=True
    )
    # Others may search in the same database, under a name that is the last part of their folder's.
    searched = {"config": config_to_json(sweep.config), "search": list(sweep.search)}
    for part, value in searched.items():
        if study.user_attrs.get(part, value) != value:
            raise ValueError(
                f"storage ({sweep.storage}) holds a sweep {name!r}, whose {part} differs: choose another folder name"
            )
        if part not in study.user_attrs:
            study.set_user_attr(part, value)
    return study


def count_trials(study: Any, state: str | None = None) -> int:
    """Trials of a study, in all states or one, such as "COMPLETE"; those whose worker was killed do not count."""
    return sum(
        not was_given_up(trial) and (state is None or trial.state.name == state)
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name != "WAITING"
    )


def work(sweep: Sweep) -> None:
    """Train trials until the sweep has as many as it is to have.

    Raises:
        Interrupted: after a signal. The trial that was running is tried again by the next worker.
    """
    optuna = import_optuna()
    study = open_study(sweep)
    while count_trials(study) < sweep.trials:
        trial = study.ask()
        trial.set_user_attr(PROCESS, f"{socket.gethostname()}:{os.getpid()}")
        try:
            value = train_trial(sweep, trial)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except Interrupted:
            give_up(study, trial.number, trial.params)
            raise
        except Exception as error:  # whatever it is, the next trial may do better
            trial.set_user_attr(ERROR, " ".join(f"{type(error).__name__}: {error}".split()))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value)


def train_trial(sweep: Sweep, trial: Any) -> float:
    """Train a trial in a run folder of its own.

    Returns:
        The mean return over seeds of its last evaluation.

    Raises:
        optuna.TrialPruned: if it was ended early.
        ValueError: if its settings do not fit together, or it has no evaluation.
    """
    optuna = import_optuna()
    spaces = search_space(sweep.config, sweep.search)
    config = with_values(sweep.config, {name: space.draw(trial, name) for name, space in spaces.items()})
    config = replace(config, loggers=("file",), group=sweep.folder.absolute().name)
    reporter = Reporter(trial)
    run_config(config, sweep.folder / f"trial-{trial.number:04d}", callbacks=[reporter])
    if reporter.pruned:
        raise optuna.TrialPruned
    if reporter.last is None:
        raise ValueError("the trial has no evaluation: make evaluation_interval smaller, or evaluation_steps larger")
    return reporter.last


class Reporter:
    """A callback that tells Optuna of each evaluation, and ends the run where that says so.

    Attributes:
        last: the mean return over seeds of the last evaluation.
        pruned: whether the run was ended.
    """

    def __init__(self, trial: Any) -> None:
        self.trial = trial
        self.last: float | None = None
        self.pruned = False

    def __call__(self, event: Event) -> bool:
        """Whether the run is to end."""
        returns = [row["evaluation_return"] for row in event.rows if "evaluation_return" in row]
        if not returns:
            return False
        if not math.isfinite(sum(returns)):
            raise ValueError(f"the evaluation at step {event.step:,} has no finite return: {returns}")
        self.last = sum(returns) / len(returns)
        self.trial.report(self.last, event.step)
        self.pruned = self.trial.should_prune()
        return self.pruned


def was_given_up(trial: Any) -> bool:
    """Whether a trial failed because its worker was gone, and not by an error of its own."""
    return trial.state.name == "FAIL" and ERROR not in trial.user_attrs


def give_up(study: Any, number: int, values: Mapping[str, Any]) -> None:
    """Note that the worker of a trial is gone, and have its values tried again."""
    from optuna.trial import TrialState

    study.tell(number, state=TrialState.FAIL)
    study.enqueue_trial(dict(values))


def give_up_lost(study: Any) -> int:
    """Give up all running trials whose process on this machine is gone; the number of them."""
    lost = [
        trial
        for trial in study.get_trials()
        if trial.state.name == "RUNNING" and _is_gone(trial.user_attrs.get(PROCESS))
    ]
    for trial in lost:
        give_up(study, trial.number, trial.params)
    return len(lost)


def _is_gone(process: str | None) -> bool:
    if process is None:
        return False
    host, _, number = process.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    return False


def report(sweep: Sweep, study: Any, most: int = 10) -> str:
    """What was found, as Markdown: the best trials, how many there were, and the command line of the best.

    Args:
        sweep: the sweep.
        study: its study.
        most: how many of the best trials are listed.
    """
    counts = {state: count_trials(study, state) for state in ("COMPLETE", "PRUNED", "FAIL")}
    lines = [
        f"# {study.study_name}",
        "",
        f"{counts['COMPLETE']} trials complete, {counts['PRUNED']} ended early, {counts['FAIL']} failed.",
        "",
    ]
    complete = [trial for trial in study.get_trials() if trial.state.name == "COMPLETE"]
    best = sorted(complete, key=lambda trial: -trial.value)[:most]
    if not best:
        errors = [trial.user_attrs[ERROR] for trial in study.get_trials() if ERROR in trial.user_attrs]
        return "\n".join([*lines, *(f"* {error}" for error in dict.fromkeys(errors))]) + "\n"
    names = list(search_space(sweep.config, sweep.search))
    lines += markdown_table(
        ["trial", "return", *names], [[t.number, t.value, *(t.params[n] for n in names)] for t in best]
    )
    config = with_values(sweep.config, best[0].params)
    lines += ["", "The best settings:", "", f"    {command_line(config)}"]
    return "\n".join(lines) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table in Markdown; numbers have four digits."""

    def text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return [f"| {' | '.join(map(text, row))} |" for row in (header, ["---"] * len(header), *rows)]
