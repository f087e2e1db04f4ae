"""The training loop: compiled chunks for all seeds at once, and between them evaluation, metrics and checkpoints."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.algorithm import NOTHING_TO_LEARN, Algorithm
from memorax.environments import host
from memorax.evaluation.episodes import unfinished_warning
from memorax.evaluation.runs import read_config
from memorax.loggers import FileLogger, Logger, Outcome, Row, RunDescription, TerminalLogger
from memorax.random_keys import key_for
from memorax.training.checkpoints import Checkpoints
from memorax.training.folder import check_folder, checkpoints_folder, create_folder, owned
from memorax.training.interruption import Interrupted, Interruption
from memorax.training.record import RunRecord, new_record, resumed_record
from memorax.training.schedule import Schedule, make_schedule
from memorax.training.summary import (
    EPISODE_COLUMNS,
    EVALUATION_COLUMNS,
    Episodes,
    count_evaluated_episodes,
    episode_row,
    evaluation_row,
    metrics_row,
    summarize,
)
from memorax.types import Array, Key, Metrics, PyTree
from memorax.validation import whole_number

COLUMNS = ("seed", "step", "seconds", *EPISODE_COLUMNS, *EVALUATION_COLUMNS)
DEFAULT_EVALUATION_LENGTH = 1024
LONGEST_NAP = 0.05
STOPPING = "stopping after this chunk; once more, in two seconds or later, to stop at once, without saving"
LARGEST_SEED = 2**31

Agent = Algorithm[Any, Any]
Chunk = Callable[[Key, PyTree], tuple[Key, PyTree, tuple[Episodes, Metrics]]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """Where a run ended.

    Attributes:
        key: the keys to go on from, `[num_seeds]`.
        state: the agents' states, leaves `[num_seeds, ...]`.
        step: environment steps taken in each seed.
        metrics: the last row of each seed; empty where there was nothing left to do.
    """

    key: Key
    state: PyTree
    step: int
    metrics: list[Row]


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
) -> TrainingResult:
    """Train an agent.

    The same arguments give the same result, bit for bit on the same device, whether or not the run was killed and
    resumed in between. A signal (Ctrl-C, SIGTERM, or one that warns of the end of a cluster's job) stops the run after
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
        evaluation_interval: environment steps between two evaluations; by default a twentieth of the run, and no fewer
            than an evaluation takes.
        evaluation_steps: environment steps in an evaluation, over all environments; by default 1024 in each. Which
            episodes count is said by `evaluated_episodes` in `evaluation/episodes.py`.
        checkpoint_seconds: least time between two checkpoints, in seconds; there is one at the end in any case.
        loggers: where metrics go; by default the terminal and, with a folder, a CSV file.
        config: settings to keep in the folder, as JSON holds them. By default a run that is resumed keeps its own.
        group: what the run has in common with others, for loggers.
        tags: words to find the run by, for loggers.

    Returns:
        The keys and states at the end.

    Raises:
        ValueError: if a number is not valid, the folder holds another run or is in use, or a logger refuses the run.
        OSError: if the disk is full; the last checkpoint stays intact.
        Interrupted: after a signal, once everything is saved.
    """
    total_steps = whole_number("total_steps", total_steps)
    if evaluation_steps is None:
        evaluation_steps = DEFAULT_EVALUATION_LENGTH * agent.cfg.num_envs
    intervals = log_interval, evaluation_interval
    schedule = make_schedule(agent.steps_per_iteration, total_steps, *intervals, evaluation_steps)
    _check_seeds(agent, seed, num_seeds)
    if folder is None and resume:
        raise ValueError("resume needs the folder of the run to go on with")
    path = None if folder is None else Path(folder)
    if loggers is None:
        loggers = [TerminalLogger(path), *([FileLogger(path)] if path is not None else [])]
    with contextlib.ExitStack() as stack:
        if resume and path is not None:
            read_config(path)
            stack.enter_context(owned(path))
            record = resumed_record(path, seed, num_seeds, total_steps, config)
        else:
            record = new_record(agent, path, seed, num_seeds, total_steps, config or {}, group, tags)
            if path is not None:
                check_folder(path)
                path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(owned(path))
                create_folder(path)
                record.write(path)
        run = _Run(agent, schedule, record, resume, path, evaluation_steps, checkpoint_seconds, loggers)
        outcome: Outcome = "failed"
        try:
            with run.interruption, host.own_errors():
                result = run.train()
            outcome = "completed"
            return result
        except Interrupted:
            outcome = "interrupted"
            raise
        finally:
            run.close(outcome)


def _check_seeds(agent: Agent, seed: int, num_seeds: int) -> None:
    if num_seeds < 1:
        raise ValueError(f"num_seeds ({num_seeds}) must be at least 1")
    if num_seeds > 1 and agent.env.on_host:
        raise ValueError(
            f"num_seeds ({num_seeds}) must be 1: {agent.env.name} runs on the host, where seeds are trained one by one"
        )
    if not 0 <= seed <= LARGEST_SEED - num_seeds:
        raise ValueError(f"seed ({seed}) must lie between 0 and {LARGEST_SEED - num_seeds}")


@dataclass(frozen=True)
class _Beginning:
    """Where a run starts; see `Checkpoint`."""

    key: Key
    state: PyTree
    step: int = 0
    seconds: float = 0.0
    logged: int = 0
    rows: list[Row] = field(default_factory=list)


class _Run:
    """One run: what stays the same in it."""

    def __init__(
        self,
        agent: Agent,
        schedule: Schedule,
        record: RunRecord,
        resumed: bool,
        folder: Path | None,
        evaluation_steps: int,
        checkpoint_seconds: float,
        loggers: Sequence[Logger],
    ) -> None:
        self.agent = agent
        self.schedule = schedule
        self.record = record
        self.resumed = resumed
        self.seeds = np.arange(record.seed, record.seed + record.num_seeds)
        self.folder = folder
        self.checkpoint_seconds = checkpoint_seconds
        self.loggers = loggers
        self.checkpoints = None if folder is None else Checkpoints(checkpoints_folder(folder))
        self.interruption = Interruption()
        self.evaluation_steps = evaluation_steps
        self.programs = _programs(agent)
        self.warned: set[str] = set()

    def close(self, outcome: Outcome) -> None:
        for logger in self.loggers:
            self._tell(logger, lambda logger: logger.close(outcome))

    def train(self) -> TrainingResult:
        steps_per_iteration = self.agent.steps_per_iteration
        begun = self._begin()
        key, state, rows = begun.key, begun.state, begun.rows
        iteration = begun.step // steps_per_iteration
        if not rows and not self.schedule.next_chunk(iteration):
            return TrainingResult(key, state, begun.step, [])
        if self.folder is not None and self.resumed:
            self.record = self.record.at(begun.step)
            self.record.write(self.folder)
        logged = begun.logged
        if not self._interrupted:
            self._start_loggers(self.schedule.next_chunk(iteration) or 1, key, state, logged)
        if rows and not self._interrupted:
            rows = self._evaluated(rows, state)
            self._log(rows, np.nan)
            logged = begun.step
        started = saved = time.monotonic()
        while not self._interrupted and (length := self.schedule.next_chunk(iteration)):
            chunk = self.programs.compile(length, key, state, self._status)
            if self._interrupted:
                break
            self._status("training")
            chunk_started = time.monotonic()
            key, state, kept = chunk(key, state)
            self._wait(kept)
            speed = length * steps_per_iteration * len(self.seeds) / (time.monotonic() - chunk_started)
            iteration += length
            step = iteration * steps_per_iteration
            elapsed = begun.seconds + time.monotonic() - started
            rows = self._rows(jax.device_get(kept), step, elapsed)
            if self.schedule.evaluates(iteration):
                if self._interrupted:
                    break
                rows = self._evaluated(rows, state)
            self._log(rows, speed)
            logged = step
            if time.monotonic() - saved >= self.checkpoint_seconds:
                self._save(key, state, step, elapsed, logged, [])
                saved = time.monotonic()
        step = iteration * steps_per_iteration
        waiting = rows if logged < step else []
        self._save(key, state, step, begun.seconds + time.monotonic() - started, logged, waiting)
        if self.interruption.signal is not None:
            in_python = f"train(agent, ..., folder={str(self.folder)!r}, resume=True)"
            command = None if "hyperparameters" in self.record.config else in_python
            raise Interrupted(self.interruption.signal, self.folder, step, command)
        return TrainingResult(key, state, step, rows)

    @property
    def _interrupted(self) -> bool:
        return self.interruption.signal is not None

    def _begin(self) -> _Beginning:
        """Where the run starts: from its last checkpoint, or from its beginning."""
        keys = jax.vmap(jax.random.key)(self.seeds)
        if self.checkpoints is not None and self.checkpoints.steps:
            self._status("restoring")
            checkpoint = self.checkpoints.restore(jax.eval_shape(self.programs.init, keys))
            if checkpoint is not None:
                key, state = self._reopen(*checkpoint.tree)
                return _Beginning(key, state, checkpoint.step, checkpoint.seconds, checkpoint.logged, checkpoint.rows)
        self._status("initialising")
        key, state = self.programs.init(keys)
        # A member may start with two names for one array (a target network), which cannot be donated twice.
        return _Beginning(key, jax.tree.map(jnp.copy, state))

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
        description = RunDescription(
            id=self.record.id,
            name=self.record.name,
            columns=(*COLUMNS, *sorted(metrics)),
            step=logged,
            total_steps=self.schedule.total * self.agent.steps_per_iteration,
            num_seeds=len(self.seeds),
            group=self.record.group,
            tags=self.record.tags,
            config=self.record.config,
        )
        for logger in self.loggers:
            logger.start(description)

    def _evaluated(self, rows: Sequence[Row], state: PyTree) -> list[Row]:
        """Rows with what an evaluation adds to them."""
        self._status("evaluating")
        iteration = np.uint32(int(rows[0]["step"]) // self.agent.steps_per_iteration)
        episodes = self.programs.evaluate(self.evaluation_steps, self.seeds, iteration, state)
        self._wait(episodes)
        episodes = jax.device_get(episodes)
        if unfinished := int(np.sum(episodes.unfinished)):
            count = int(np.sum(episodes.count))
            warning = unfinished_warning(unfinished, count, "evaluation_steps", self.evaluation_steps)
            self._warn_once("unfinished", warning)
        return [{**row, **evaluation_row(episodes, index)} for index, row in enumerate(rows)]

    def _rows(self, kept: tuple[Episodes, Metrics], step: int, seconds: float) -> list[Row]:
        episodes, metrics = kept
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
        for row in rows:
            if lost := [name for name, value in row.items() if not math.isfinite(value)]:
                seed, step = row["seed"], row["step"]
                self._warn_once(f"seed {seed}", f"seed {seed} at step {step:,}: {', '.join(lost)} not finite")
            if row.get("updates") and row.get("known_targets") == 0:
                self._warn_once("targets", NOTHING_TO_LEARN)
        for logger in self.loggers:
            self._tell(logger, lambda logger: logger.log(rows, speed))

    def _save(self, key: Key, state: PyTree, step: int, seconds: float, logged: int, waiting: Sequence[Row]) -> None:
        if self.checkpoints is not None:
            self._status("saving")
            self.checkpoints.save(step, seconds, (key, state), logged, waiting)

    def _wait(self, arrays: PyTree) -> None:
        """Wait until arrays are computed, in naps, so that signals are handled and answered meanwhile.

        Each nap is a hundredth of the time waited so far: none of the speed is lost.
        """
        started = time.monotonic()
        answered = False
        leaf = jax.tree.leaves(arrays)[0]
        while not leaf.is_ready():
            time.sleep(min(LONGEST_NAP, 1e-4 + (time.monotonic() - started) / 100))
            if self._interrupted and not answered:
                self._status(STOPPING)
                answered = True
        jax.block_until_ready(arrays)

    def _status(self, text: str) -> None:
        for logger in self.loggers:
            self._tell(logger, lambda logger: logger.status(text))

    def _tell(self, logger: Logger, call: Callable[[Logger], None]) -> None:
        """Call a logger, which may fail."""
        try:
            call(logger)
        except Exception as error:
            name = type(logger).__name__
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._warn_once(f"{name} {id(logger)}", f"{name} failed, and the run goes on: {reason}")

    def _warn_once(self, what: str, message: str) -> None:
        if what not in self.warned:
            self.warned.add(what)
            _log.warning("%s", message)


class _Programs:
    """What is compiled for an agent, for all seeds at once."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.init = jax.jit(jax.vmap(agent.init))
        self.restart = jax.jit(jax.vmap(agent.restart))
        self.evaluate = jax.jit(self._evaluate, static_argnums=0)
        self._traced: dict[tuple[int, int], jax.stages.Traced] = {}
        self._compiled: dict[tuple[int, int], Chunk] = {}

    def trace(self, iterations: int, key: Key, state: PyTree) -> jax.stages.Traced:
        """The program of a chunk before it is compiled; it takes over the memory of the state."""
        size = iterations, len(key)
        if size not in self._traced:
            num_steps = iterations * self.agent.steps_per_iteration
            chunk = jax.vmap(lambda key, state: self.agent.train(key, state, num_steps=num_steps, keep=summarize))
            self._traced[size] = jax.jit(chunk, donate_argnums=1).trace(key, state)
        return self._traced[size]

    def compile(self, iterations: int, key: Key, state: PyTree, status: Callable[[str], None]) -> Chunk:
        """The program of a chunk."""
        size = iterations, len(key)
        if size not in self._compiled:
            status("compiling")
            self._compiled[size] = self.trace(iterations, key, state).lower().compile()
        return self._compiled[size]

    def _evaluate(self, num_steps: int, seeds: Array, iteration: Array, states: PyTree) -> Episodes:
        """Sums over the episodes of an evaluation, `[seeds]`; the keys of training are left alone."""

        def evaluate(seed: Array, state: PyTree) -> Episodes:
            key = jax.random.fold_in(key_for(jax.random.key(seed), "evaluation in training"), iteration)
            return count_evaluated_episodes(self.agent.evaluate(key, state, num_steps)[1])

        return jax.vmap(evaluate)(seeds, states)


def _programs(agent: Agent) -> _Programs:
    """Kept with the agent for its next run, which then starts at once, and gone with it."""
    if "training" not in agent.others_compiled:
        agent.others_compiled["training"] = _Programs(agent)
    return agent.others_compiled["training"]
