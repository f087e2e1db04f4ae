"""Trains the settings of a grid, as many at a time as its executor can."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from memorax.evaluation.runs import CONFIG_FILE
from memorax.laboratory.executors import Executor, Job, JobHandle
from memorax.laboratory.grid import Grid, Setting
from memorax.laboratory.outcome import COMPLETED, FAILED, INTERRUPTED, Outcome, is_complete, read_outcome, steps_taken
from memorax.training.config import config_to_json
from memorax.training.folder import load_config, owned
from memorax.training.interruption import Interruption

ATTEMPTS = 2
"""How often a setting is tried whose worker was killed."""

POLL_SECONDS = 0.3

NOT_COMPARED = ("total_steps", "devices", "loggers", "group", "tags", "checkpoint_seconds", "keep_checkpoints")
"""Settings that may differ from those of a run which a grid goes on with: they do not change what is learned."""


@dataclass(frozen=True)
class Progress:
    """How far a grid is.

    Attributes:
        total: number of its settings.
        complete: settings that are complete, those of earlier calls among them.
        running: settings that are being trained.
        failed: settings that failed.
        seconds_left: estimate of the seconds until all are complete, from what was trained in this call; None where
            nothing was trained yet.
        news: what happened just now, in one line, if anything did.
    """

    total: int
    complete: int
    running: int
    failed: int
    seconds_left: float | None = None
    news: str | None = None


@dataclass
class GridReport:
    """How the settings of a grid ended.

    Attributes:
        skipped: settings that were complete before.
        completed: settings that were trained.
        failed: settings that failed, with the error in one line.
    """

    skipped: list[Setting] = field(default_factory=list)
    completed: list[Setting] = field(default_factory=list)
    failed: list[tuple[Setting, str]] = field(default_factory=list)


class GridInterrupted(KeyboardInterrupt):
    """Raised by `run_grid` after a signal, once all workers have saved and stopped.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal_number


def run_grid(
    grid: Grid,
    folder: Path,
    executor: Executor,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> GridReport:
    """Train the settings of a grid that are not complete yet, each in a run folder in `folder`.

    A setting that fails is listed, and the others go on. One whose worker is killed is tried once more, from its last
    checkpoint. Where the same grid is run again, what is complete is skipped, what is not goes on, and what failed is
    tried again.

    Args:
        grid: the grid.
        folder: folder of its run folders. One process at a time owns it.
        executor: what trains the runs.
        tell: function that is told of the progress, several times a second.

    Raises:
        ValueError: if another process owns the folder, or it holds a run with other settings than the grid says.
        GridInterrupted: after a signal, once all workers have saved and stopped.
    """
    for setting in grid.settings:
        check_unchanged(setting, folder / setting.name)
    folder.mkdir(parents=True, exist_ok=True)
    with owned(folder), Interruption() as interruption:
        scheduler = _Scheduler(grid, folder, executor, tell)
        try:
            return scheduler.run(interruption)
        finally:
            scheduler.stop()
            executor.close()


def check_unchanged(setting: Setting, folder: Path) -> None:
    """Check that a run folder, which need not exist, holds no run with other settings.

    Raises:
        ValueError: if it does.
    """
    path = folder / CONFIG_FILE
    if not path.exists() or not path.stat().st_size:
        return
    before, now = config_to_json(load_config(folder)), config_to_json(setting.config)
    changed = [name for name in now if name not in NOT_COMPARED and now[name] != before[name]]
    if changed:
        name = changed[0]
        raise ValueError(
            f"{folder} holds a run with other settings than {setting.name} of the grid: {name} was {before[name]} and "
            f"is {now[name]}. Choose another --folder, or remove it"
        )


class _Scheduler:
    """The settings of a grid by what is the matter with them."""

    def __init__(self, grid: Grid, folder: Path, executor: Executor, tell: Callable[[Progress], None]) -> None:
        self.grid = grid
        self.folder = folder
        self.executor = executor
        self.tell = tell
        self.report = GridReport()
        self.waiting: deque[Setting] = deque()
        self.running: dict[str, tuple[Setting, JobHandle]] = {}
        self.submitted: dict[str, float] = {}
        self.trained: list[tuple[float, float]] = []
        self.attempts: dict[str, int] = {}
        for setting in grid.settings:
            complete = is_complete(folder / setting.name, setting.config.total_steps)
            (self.report.skipped if complete else self.waiting).append(setting)
        self.started = time.monotonic()
        self.done_before = {setting.name: self._done(setting) for setting in self.waiting}
        self.work = sum(map(self._work_before, self.waiting))

    def run(self, interruption: Interruption) -> GridReport:
        if self.report.skipped:
            self._tell(f"{len(self.report.skipped)} of {len(self.grid.settings)} settings are complete already")
        while self.waiting or self.running:
            if interruption.signal is not None:
                self._tell("stopping: every run saves first")
                self.stop()
                complete = len(self.report.skipped) + len(self.report.completed)
                raise GridInterrupted(
                    interruption.signal,
                    f"stopped with {complete} of {len(self.grid.settings)} settings complete: the same command goes on",
                )
            while self.waiting and len(self.running) < self.executor.workers:
                self._submit(self.waiting.popleft())
            for setting, handle in list(self.running.values()):
                if handle.ended():
                    del self.running[setting.name]
                    self._tell(self._ended(setting, handle))
            self._tell()
            if self.running:
                time.sleep(POLL_SECONDS)
        return self.report

    def stop(self) -> None:
        """Stop all workers and wait for them."""
        for _, handle in self.running.values():
            handle.stop()
        for name, (setting, handle) in list(self.running.items()):
            while not handle.ended():
                time.sleep(POLL_SECONDS)
            del self.running[name]
            if is_complete(self.folder / name, setting.config.total_steps):
                self.report.completed.append(setting)

    def _submit(self, setting: Setting) -> None:
        folder = self.folder / setting.name
        self.attempts[setting.name] = self.attempts.get(setting.name, 0) + 1
        folder.mkdir(parents=True, exist_ok=True)
        # What an earlier call left would be taken for the end of this one.
        Outcome("waiting", setting.config.total_steps).write(folder)
        handle = self.executor.submit(Job(folder.absolute(), config_to_json(setting.config)))
        self.running[setting.name] = setting, handle
        self.submitted[setting.name] = time.monotonic()

    def _ended(self, setting: Setting, handle: JobHandle) -> str:
        """Note how a setting ended; the news of it in one line."""
        folder = self.folder / setting.name
        outcome = read_outcome(folder)
        if outcome is not None and outcome.status == COMPLETED:
            self.report.completed.append(setting)
            self.trained.append((self._work_before(setting), time.monotonic() - self.submitted[setting.name]))
            return f"complete: {setting.name}"
        if outcome is not None and outcome.status == FAILED:
            message = outcome.message
        elif self.attempts[setting.name] < ATTEMPTS:
            self.waiting.appendleft(setting)
            return f"its worker {handle.describe_end()}, tried again: {setting.name}"
        else:
            stopped = outcome is not None and outcome.status == INTERRUPTED
            how = "was stopped" if stopped else handle.describe_end()
            message = f"its worker {how}, {ATTEMPTS} times; the same command goes on with it"
            dataclasses.replace(outcome or Outcome(FAILED, setting.config.total_steps), message=message).write(folder)
        self.report.failed.append((setting, message))
        return f"failed: {setting.name}: {message}"

    def _tell(self, news: str | None = None) -> None:
        complete = len(self.report.skipped) + len(self.report.completed)
        self.tell(
            Progress(
                len(self.grid.settings),
                complete,
                len(self.running),
                len(self.report.failed),
                self._seconds_left(),
                news,
            )
        )

    def _seconds_left(self) -> float | None:
        """Seconds until the rest is done."""
        now, running = time.monotonic(), [setting for setting, _ in self.running.values()]
        if not self.trained:  # as fast as the steps that were taken
            left = sum(_work(setting) * (1 - self._done(setting)) for setting in running)
            left += sum(map(self._work_before, self.waiting))
            done = self.work - left
            return left * (now - self.started) / done if done > 0 else None
        spent = [now - self.submitted[setting.name] for setting in running] + [0.0] * len(self.waiting)
        whole = predict_seconds(self.trained, list(map(self._work_before, [*running, *self.waiting])))
        left = sum(max(seconds - already, 0.0) for seconds, already in zip(whole, spent, strict=True))
        return left / max(min(self.executor.workers, len(whole)), 1)

    def _work_before(self, setting: Setting) -> float:
        """Steps of all seeds that a setting lacked when this call began."""
        return _work(setting) * (1 - self.done_before[setting.name])

    def _done(self, setting: Setting) -> float:
        """The part of a setting's steps that was taken."""
        return min(1.0, steps_taken(self.folder / setting.name) / setting.config.total_steps)


def predict_seconds(trained: Sequence[tuple[float, float]], work: Sequence[float]) -> list[float]:
    """The seconds that settings take: a part that all share, as compilation is, and one for each of their steps.

    Args:
        trained: the steps and the seconds of settings that are done, at least one.
        work: the steps of others.
    """
    steps, seconds = np.asarray(trained, float).T
    if len(np.unique(steps)) == 1:  # the two parts cannot be told apart
        return [float(seconds.mean())] * len(work)
    scale = steps.max()
    (shared, for_steps), _ = nnls(np.stack([np.ones_like(steps), steps / scale], axis=1), seconds)
    return [float(shared + for_steps * x / scale) for x in work]


def _work(setting: Setting) -> int:
    return setting.config.total_steps * setting.config.num_seeds
