"""The training loop: compiled chunks for all seeds at once, and between them evaluation, metrics and checkpoints."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.algorithm import Agent, Algorithm
from memorax.environments import host
from memorax.evaluation.episodes import unfinished_warning
from memorax.evaluation.runs import CONFIG_FILE, read_config
from memorax.loggers import FileLogger, Logger, Outcome, Row, RunDescription, TerminalLogger, check_loggers
from memorax.training.best import Best
from memorax.training.callbacks import Callback, Event, asks_to_stop, callback_name, check_callbacks
from memorax.training.checkpoints import KEPT, Checkpoint, Checkpoints
from memorax.training.debugging import explain
from memorax.training.devices import Placement, make_placement
from memorax.training.finite import ON_NAN, Finding, NotFinite, describe, find_not_finite
from memorax.training.folder import LOCK_FILE, check_folder, checkpoints_folder, create_folder, folder_path, owned
from memorax.training.interruption import Interrupted, Interruption
from memorax.training.processes import ProcessLost, any_process, check_same_step, is_first
from memorax.training.programs import programs_of
from memorax.training.record import RunRecord, new_record, resumed_record
from memorax.training.schedule import Schedule, make_schedule
from memorax.training.summary import (
    EPISODE_COLUMNS,
    EVALUATION_COLUMNS,
    Episodes,
    episode_row,
    evaluation_row,
    metrics_columns,
    metrics_row,
)
from memorax.training.watch import Watch
from memorax.types import Key, Metrics, PyTree
from memorax.validation import (
    described,
    duration,
    positive_whole_number,
    random_seed,
    several_texts,
    true_or_false,
    whole_number,
)

COLUMNS = ("seed", "step", "seconds", *EPISODE_COLUMNS, *EVALUATION_COLUMNS)
DEFAULT_EVALUATION_LENGTH = 1024
LONGEST_NAP = 0.05
STOPPING = "stopping after this chunk; once more, in two seconds or later, to stop at once, without saving"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """Where a run ended.

    Attributes:
        key: the keys to go on from, `[num_seeds]`.
        state: the agents' states, leaves `[num_seeds, ...]`.
        step: environment steps taken in each seed.
        metrics: the last row of each seed; empty where there was nothing left to do.
        stopped: why the run ended before its total steps; None where it took them all.
    """

    key: Key = field(repr=False)
    state: PyTree = field(repr=False)  # every array of every agent
    step: int
    metrics: list[Row]
    stopped: str | None = None


def train(
    agent: Agent,
    total_steps: float,
    seed: int = 0,
    num_seeds: int = 1,
    folder: str | Path | None = None,
    resume: bool = False,
    log_interval: int | None = None,
    evaluation_interval: int | None = None,
    evaluation_steps: int | None = None,
    checkpoint_seconds: float = 30.0,
    loggers: Sequence[Logger] | None = None,
    config: Mapping[str, Any] | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    keep_checkpoints: int = KEPT,
    patience: int | None = None,
    on_nan: str = "stop",
    debug: bool = False,
    devices: int | None = None,
) -> TrainingResult:
    """Train an agent.

    The same arguments give the same result, bit for bit on the same kind of device, whether or not the run was killed
    and resumed in between; on a CPU an agent learns the same whichever others it is trained with, and on any number of
    cores. A signal (Ctrl-C, SIGTERM, or one that warns of the end of a cluster's job) stops the run after
    the chunk that is running.

    Args:
        agent: the agent to train.
        total_steps: environment steps in each seed, over all its environments, such as `1e6`; rounded up to whole
            iterations.
        seed: random seed of the first agent; agent i uses `seed + i`.
        num_seeds: agents trained side by side in one program.
        folder: where metrics and checkpoints go; nowhere by default. One run at a time owns it.
        resume: go on with the run in `folder` from its last intact checkpoint. It has the same seeds.
        log_interval: environment steps between two rows of metrics; by default about a hundredth of the run.
        evaluation_interval: environment steps between two evaluations, rounded up to whole log intervals; by default a
            twentieth of the run, and no fewer than an evaluation takes.
        evaluation_steps: environment steps in an evaluation, over all environments; by default 1024 in each. Which
            episodes count is said by `evaluated_episodes` in `evaluation/episodes.py`.
        checkpoint_seconds: least time between two checkpoints, in seconds; there is one at the end in any case.
        loggers: where metrics go; by default the terminal and, with a folder, a CSV file.
        config: settings to keep in the folder, as JSON holds them. By default a run that is resumed keeps its own.
        group: what the run has in common with others, for loggers.
        tags: words to find the run by, for loggers.
        callbacks: functions to call after each chunk with an `Event`; one that returns True ends the run.
        keep_checkpoints: how many of the last checkpoints are kept, beside the one with the best mean evaluation
            return over seeds.
        patience: evaluations without a better mean return after which the run ends; by default it never does.
        on_nan: "stop" the run where a loss or a parameter of any seed is not finite, without saving, so that the last
            checkpoint is a good one; or "continue", where it is told once for each seed.
        debug: find the operation that made the first NaN or infinity where the run stops for one. A copy of the state
            is kept meanwhile.
        devices: number of devices. Seeds are spread over all that JAX has by default; a single agent is trained on one
            by default, and its environments and minibatches are spread over more if asked for. See `make_placement`.

    Returns:
        The keys and states at the end.

    Raises:
        ValueError: if a number is not valid, the folder holds another run or is in use, or a logger refuses the run.
        OSError: if the disk is full; the last checkpoint stays intact.
        Interrupted: after a signal, once everything is saved.
        ProcessLost: a ConnectionError, if another process that trains the run was lost.
        NotFinite: a ValueError, where a loss or a parameter is not finite and `on_nan` says "stop".
    """
    if not isinstance(agent, Algorithm):
        raise ValueError(
            f"agent ({described(agent)}) must be an agent: memorax.training.run_config trains what a config describes"
        )
    total_steps, num_seeds = whole_number("total_steps", total_steps), whole_number("num_seeds", num_seeds)
    path = None if folder is None else folder_path("folder", folder)
    checkpoint_seconds, tags = duration("checkpoint_seconds", checkpoint_seconds), several_texts("tags", tags)
    resume, debug = true_or_false("resume", resume), true_or_false("debug", debug)
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(f"config ({config!r}) must be settings by name, a dictionary")
    if group is not None and not isinstance(group, str):
        raise ValueError(f"group ({group!r}) must be text")
    check_loggers(loggers)
    if evaluation_steps is None:
        evaluation_steps = DEFAULT_EVALUATION_LENGTH * agent.cfg.num_envs
    evaluation_steps = whole_number("evaluation_steps", evaluation_steps)
    intervals = _whole_or_none("log_interval", log_interval), _whole_or_none("evaluation_interval", evaluation_interval)
    schedule = make_schedule(agent.steps_per_iteration, total_steps, *intervals, evaluation_steps)
    seed = _first_seed(agent, seed, num_seeds)
    placement = make_placement(agent.env, agent.cfg.num_envs, num_seeds, devices)
    check_callbacks(callbacks)
    keep_checkpoints = positive_whole_number("keep_checkpoints", keep_checkpoints)
    patience = None if patience is None else positive_whole_number("patience", patience)
    if on_nan not in ON_NAN:
        raise ValueError(f"on_nan ({on_nan!r}) must be one of {', '.join(map(repr, ON_NAN))}")
    if debug and agent.env.on_host:
        raise ValueError(f"debug must be left out: what {agent.env.name} did on the host cannot be computed again")
    if debug and jax.process_count() > 1:
        raise ValueError("debug must be left out where several processes train a run")
    if folder is None and resume:
        raise ValueError("resume needs the folder of the run to go on with")
    writes = is_first()
    if not writes:
        loggers = []
    if loggers is None:
        loggers = [TerminalLogger(path), *([FileLogger(path)] if path is not None else [])]
    with contextlib.ExitStack() as stack:
        if resume and path is not None:
            read_config(path)
            if writes:
                stack.enter_context(owned(path))
            record = resumed_record(agent, path, seed, num_seeds, total_steps, config)
        else:
            record = new_record(agent, path, seed, num_seeds, total_steps, config or {}, group, tags, placement.devices)
            if path is not None and writes:
                if (path / LOCK_FILE).exists():
                    # Whoever is training in it is told of before what it holds.
                    with owned(path):
                        pass
                check_folder(path)
                path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(owned(path))
                create_folder(path)
                try:
                    record.write(path)
                except BaseException:
                    # Whatever it is, such as a full disk: an empty file would keep the next run out.
                    (path / CONFIG_FILE).unlink()
                    raise
        checkpoints = None if path is None else Checkpoints(checkpoints_folder(path), keep_checkpoints)
        run = _Run(
            agent=agent,
            schedule=schedule,
            record=record,
            placement=placement,
            resumed=resume,
            folder=path,
            evaluation_steps=evaluation_steps,
            checkpoints=checkpoints,
            checkpoint_seconds=checkpoint_seconds,
            patience=patience,
            stops_if_not_finite=on_nan == "stop",
            debug=debug,
            loggers=loggers,
            callbacks=callbacks,
        )
        outcome: Outcome = "failed"
        try:
            with run.interruption, host.own_errors():
                result = run.train()
            outcome = "completed"
            return result
        except Interrupted:
            outcome = "interrupted"
            raise
        except ProcessLost as error:
            raise ProcessLost(f"{error}: go on from the last checkpoint with `memorax resume {folder}`") from error
        finally:
            run.close(outcome)


def _whole_or_none(name: str, value: Any) -> int | None:
    return None if value is None else whole_number(name, value)


def _first_seed(agent: Agent, seed: int, num_seeds: int) -> int:
    """The random seed of the first agent, once it is known that so many can be trained."""
    if num_seeds < 1:
        raise ValueError(f"num_seeds ({num_seeds}) must be at least 1")
    if num_seeds > 1 and agent.env.on_host:
        raise ValueError(
            f"num_seeds ({num_seeds}) must be 1: {agent.env.name} runs on the host, where seeds are trained one by one"
        )
    return random_seed("seed", seed, num_seeds)


@dataclass
class _Run:
    """One run: what stays the same in it, and where it is."""

    agent: Agent
    schedule: Schedule
    record: RunRecord
    placement: Placement
    resumed: bool
    folder: Path | None
    evaluation_steps: int
    checkpoints: Checkpoints | None
    checkpoint_seconds: float
    patience: int | None
    stops_if_not_finite: bool
    debug: bool
    loggers: Sequence[Logger]
    callbacks: Sequence[Callback]

    def __post_init__(self) -> None:
        self.seeds = np.arange(self.record.seed, self.record.seed + self.record.num_seeds)
        self.interruption = Interruption()
        self.programs = programs_of(self.agent, self.placement)
        self.best = Best()
        self.stopped: str | None = None
        self.watch = Watch(_log, self.schedule.chunk * self.agent.steps_per_iteration)

    def close(self, outcome: Outcome) -> None:
        for logger in self.loggers:
            self._tell(logger, lambda logger: logger.close(outcome))

    def train(self) -> TrainingResult:
        steps_per_iteration = self.agent.steps_per_iteration
        begun = self._begin()
        key, state = begun.tree
        rows, self.best = begun.rows, begun.best
        iteration = begun.step // steps_per_iteration
        self._mind_patience()
        if not rows and not self._next_chunk(iteration):
            return self._result(key, state, begun.step, [])
        check_same_step(begun.step)
        if self.folder is not None and self.resumed and is_first():
            self.record = self.record.at(begun.step, self.placement.devices)
            self.record.write(self.folder)
        logged = begun.logged
        started = self.saved = time.monotonic()
        if not self._interrupted:
            self._start_loggers(self.schedule.next_chunk(iteration) or 1, key, state, logged)
        if rows and not self._interrupted:
            rows = self._evaluated(rows, state)
            logged = begun.step
            self._after_chunk(rows, np.nan, key, state, begun.seconds)
        while not self._interrupted and (length := self._next_chunk(iteration)):
            chunk = self.programs.compile(length, key, state, self._status)
            if self._interrupted:
                break
            self._status("training")
            before = jax.tree.map(jnp.copy, (key, state)) if self.debug else None
            chunk_started = time.monotonic()
            key, state, kept = chunk(key, state)
            self._wait(kept)
            seconds = time.monotonic() - chunk_started
            self.watch.see_chunk(seconds)
            speed = length * steps_per_iteration * len(self.seeds) / seconds
            iteration += length
            step = iteration * steps_per_iteration
            elapsed = begun.seconds + time.monotonic() - started
            episodes, metrics = self.placement.fetch(kept)
            learned = self.placement.fetch(self.programs.examine(state))
            rows = self._rows(episodes, metrics, step, elapsed)
            if self.stops_if_not_finite and (findings := find_not_finite(metrics, learned)):
                self._log(rows, speed)
                steps = range(step - (length - 1) * steps_per_iteration, step + 1, steps_per_iteration)
                self._stop(findings, steps, before)
            self.watch.see_learned(learned, rows)
            if self.schedule.evaluates(iteration):
                if self._interrupted:
                    break
                rows = self._evaluated(rows, state)
            logged = step
            self._after_chunk(rows, speed, key, state, elapsed)
        step = iteration * steps_per_iteration
        waiting = rows if logged < step else []
        self._save(key, state, step, begun.seconds + time.monotonic() - started, logged, waiting)
        if self._interrupted:
            in_python = f"train(agent, ..., folder={str(self.folder)!r}, resume=True)"
            command = None if "hyperparameters" in self.record.config else in_python
            raise Interrupted(self.interruption.signal or signal.SIGTERM, self.folder, step, command)
        self.watch.see_end(step)
        return self._result(key, state, step, rows)

    def _result(self, key: Key, state: PyTree, step: int, rows: list[Row]) -> TrainingResult:
        key, state = self.placement.together((key, state))
        return TrainingResult(key, state, step, rows, self.stopped)

    def _after_chunk(self, rows: Sequence[Row], speed: float, key: Key, state: PyTree, elapsed: float) -> None:
        """Log a chunk's metrics once they are complete, write a checkpoint where one is due, call the callbacks."""
        step = int(rows[0]["step"])
        self.watch.see_rows(rows)
        self._log(rows, speed)
        before, self.best = self.best, self.best.after(rows)
        self._mind_patience()
        due = time.monotonic() - self.saved >= self.checkpoint_seconds
        if self.best.step != before.step or any_process(due):
            self._save(key, state, step, elapsed, step, [])

        def save() -> None:
            if self.folder is None:
                raise ValueError("a callback cannot save a run without a folder: pass folder to train")
            self._save(key, state, step, elapsed, step, [], stays=True)

        if not self.callbacks:
            return
        event = Event(step, rows, self.agent, self.placement.without_repeated(state), save)
        for callback in self.callbacks:
            if asks_to_stop(callback, event):
                self.stopped = f"{callback_name(callback)} stopped the run"

    def _next_chunk(self, iteration: int) -> int:
        """Iterations in the chunk that starts after `iteration` of them; 0 where the run ends."""
        return 0 if self.stopped else self.schedule.next_chunk(iteration)

    def _mind_patience(self) -> None:
        if self.patience is not None and self.best.evaluations_since >= self.patience:
            self.stopped = (
                f"none of the last {self.best.evaluations_since} evaluations was better than that at step "
                f"{self.best.step or 0:,}"
            )

    @property
    def _interrupted(self) -> bool:
        return any_process(self.interruption.signal is not None)

    def _begin(self) -> Checkpoint:
        """Where the run starts: from its last checkpoint, or from its beginning."""
        keys = jax.vmap(jax.random.key)(self.seeds)
        if self.resumed and self.checkpoints is not None and self.checkpoints.steps:
            self._status("restoring")
            checkpoint = self.checkpoints.restore(jax.eval_shape(jax.vmap(self.agent.init), keys))
            if checkpoint is not None:
                return replace(checkpoint, tree=self._reopen(*self.placement.place(checkpoint.tree)))
        self._status("initialising")
        key, state = self.programs.init(self.placement.place(keys))
        # A member may start with two names for one array (a target network), which cannot be donated twice.
        tree = self.placement.place((key, jax.tree.map(jnp.copy, state)))
        return Checkpoint(step=0, seconds=0.0, tree=tree, logged=0, rows=[], best=Best())

    def _reopen(self, key: Key, state: PyTree) -> tuple[Key, PyTree]:
        """A restored state in environments that can go on."""
        if not self.agent.env.on_host:
            return key, state
        _log.warning(
            "environments of %s cannot be saved: the run goes on with new episodes, and not bit for bit as if it had "
            "never stopped",
            self.agent.env.name,
        )
        return self.programs.restart(key, state)

    def _start_loggers(self, length: int, key: Key, state: PyTree, logged: int) -> None:
        """Tell the loggers what will come, which the program of `length` iterations says before it is compiled."""
        self._status("tracing")
        _, metrics = self.programs.trace(length, key, state).out_info[2]
        if taken := sorted(set(metrics) & set(COLUMNS)):
            raise ValueError(f"metric {taken[0]!r} of {type(self.agent).__name__} needs another name: it is a column")
        description = RunDescription(
            id=self.record.id,
            name=self.record.name,
            columns=(*COLUMNS, *metrics_columns(metrics)),
            step=logged,
            total_steps=self.schedule.total * self.agent.steps_per_iteration,
            num_seeds=len(self.seeds),
            devices=self.placement.describe(),
            group=self.record.group,
            tags=self.record.tags,
            config=self.record.config,
        )
        for logger in self.loggers:
            self._tell(logger, lambda logger: logger.start(description), refusal=ValueError)

    def _evaluated(self, rows: Sequence[Row], state: PyTree) -> list[Row]:
        """Rows with what an evaluation adds to them."""
        self._status("evaluating")
        iteration = np.uint32(int(rows[0]["step"]) // self.agent.steps_per_iteration)
        seeds = self.placement.place(self.seeds)
        episodes = self.programs.evaluate(self.evaluation_steps, seeds, iteration, state)
        self._wait(episodes)
        episodes = self.placement.fetch(episodes)
        if unfinished := int(np.sum(episodes.unfinished)):
            count = int(np.sum(episodes.count))
            warning = unfinished_warning(unfinished, count, "evaluation_steps", self.evaluation_steps)
            self.watch.once("unfinished", warning)
        return [{**row, **evaluation_row(episodes, index)} for index, row in enumerate(rows)]

    def _stop(self, findings: Sequence[Finding], steps: Sequence[int], before: tuple[Key, PyTree] | None) -> None:
        """Stop for what is not finite.

        Args:
            findings: what is not.
            steps: the step after each iteration of the chunk.
            before: key and state before the chunk, to find the operation by.

        Raises:
            NotFinite: in any case.
        """
        told = describe(findings, self.seeds.tolist(), steps)
        first = min(findings, key=lambda finding: finding.iteration)
        quantity = next(iter(first.quantities))
        if before is not None:
            self._status("debugging")
            told += f"; {explain(self.agent, jax.vmap(self.programs.chunk(1)), *before, len(steps))}"
        kept = self.checkpoints.steps if self.checkpoints is not None else []
        if self.folder is None:
            remedy = "pass a folder to keep checkpoints, and debug=True to find the operation"
        else:
            last = f"the last good checkpoint is that of step {kept[-1]:,}" if kept else "there was no checkpoint yet"
            in_python = f"train(agent, ..., folder={str(self.folder)!r}, resume=True, debug=True)"
            command = f"memorax resume {self.folder} --debug" if "hyperparameters" in self.record.config else in_python
            found = before is not None or self.agent.env.on_host
            remedy = last if found else f"{last}: `{command}` finds the operation"
        step, seed = int(steps[first.iteration]), int(self.seeds[first.index])
        raise NotFinite(f"{told}. The run stopped; {remedy}", step, seed, quantity)

    def _rows(self, episodes: Episodes, metrics: Metrics, step: int, seconds: float) -> list[Row]:
        return [
            {
                "seed": int(seed),
                "step": step,
                "seconds": round(seconds, 3),
                **episode_row(episodes, index),
                **metrics_row(metrics, index),
            }
            for index, seed in enumerate(self.seeds)
        ]

    def _log(self, rows: Sequence[Row], speed: float) -> None:
        for logger in self.loggers:
            self._tell(logger, lambda logger: logger.log(rows, speed))

    def _save(
        self,
        key: Key,
        state: PyTree,
        step: int,
        seconds: float,
        logged: int,
        waiting: Sequence[Row],
        stays: bool = False,
    ) -> None:
        if self.checkpoints is not None:
            self._status("saving")
            tree = self.placement.fetch((key, state))
            if is_first():
                self.checkpoints.save(step, seconds, tree, logged, waiting, self.best, stays)
        self.saved = time.monotonic()

    def _wait(self, arrays: PyTree) -> None:
        """Wait until arrays are computed, in naps, so that signals are handled and answered meanwhile.

        Each nap is a hundredth of the time waited so far: none of the speed is lost.
        """
        started = time.monotonic()
        answered = False
        leaf = jax.tree.leaves(arrays)[0]
        while not leaf.is_ready():
            time.sleep(min(LONGEST_NAP, 1e-4 + (time.monotonic() - started) / 100))
            if self.interruption.signal is not None and not answered:
                self._status(STOPPING)
                answered = True
        jax.block_until_ready(arrays)

    def _status(self, text: str) -> None:
        for logger in self.loggers:
            self._tell(logger, lambda logger: logger.status(text))

    def _tell(self, logger: Logger, call: Callable[[Logger], None], refusal: type[Exception] | tuple[()] = ()) -> None:
        """Call a logger, which may fail; a refusal is raised."""
        try:
            call(logger)
        except refusal:
            raise
        except Exception as error:
            name = type(logger).__name__
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.watch.once(f"{name} {id(logger)}", f"{name} failed, and the run goes on: {reason}")
