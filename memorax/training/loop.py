"""The training loop: compiled chunks for all seeds at once, and between them evaluation, metrics and checkpoints."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.environments import host
from memorax.evaluation.episodes import unfinished_warning
from memorax.loggers import FileLogger, Logger, Row, RunDescription, TerminalLogger
from memorax.training.checkpoints import Checkpoints
from memorax.training.folder import checkpoints_folder, create_folder, open_folder, write_config
from memorax.training.interruption import Interrupted, Interruption
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

DEFAULT_EVALUATION_LENGTH = 1024
LONGEST_NAP = 0.05
STOPPING = "stopping after this chunk; once more to stop at once, without saving"
LARGEST_SEED = 2**31

Agent = Algorithm[Any, Any]
Chunk = Callable[[Key, PyTree], tuple[Key, PyTree, tuple[Episodes, Metrics]]]


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
    total_steps: int,
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
) -> TrainingResult:
    """Train an agent.

    The same arguments give the same result, bit for bit on the same device, whether or not the run was killed and
    resumed in between. A signal (Ctrl-C or SIGTERM) stops the run after the chunk that is running.

    Args:
        agent: what learns.
        total_steps: environment steps in each seed, over all its environments; rounded up to whole iterations.
        seed: of the first agent; the others have the next ones.
        num_seeds: agents trained side by side in one program.
        folder: where metrics and checkpoints go; nowhere by default.
        resume: go on with the run in `folder` from its last intact checkpoint.
        log_interval: environment steps between two rows of metrics; by default about a hundredth of the run.
        evaluation_interval: environment steps between two evaluations; by default a twentieth of the run, and no fewer
            than an evaluation takes.
        evaluation_steps: environment steps in an evaluation, over all environments; by default 1024 in each. Which
            episodes count is said by `evaluated_episodes` in `evaluation/episodes.py`.
        checkpoint_seconds: least time between two checkpoints, in seconds; there is one at the end in any case.
        loggers: where metrics go; by default the terminal and, with a folder, a CSV file.
        config: settings to write to the folder, as JSON holds them.

    Returns:
        The keys and states at the end.

    Raises:
        ValueError: if a number is not positive, or the folder holds another run.
        OSError: if the disk is full; the last checkpoint stays intact.
        Interrupted: after a signal, once everything is saved.
    """
    if evaluation_steps is None:
        evaluation_steps = DEFAULT_EVALUATION_LENGTH * agent.cfg.num_envs
    intervals = log_interval, evaluation_interval
    schedule = make_schedule(agent.steps_per_iteration, total_steps, *intervals, evaluation_steps)
    if num_seeds < 1:
        raise ValueError(f"num_seeds ({num_seeds}) must be at least 1")
    if num_seeds > 1 and agent.env.on_host:
        raise ValueError(
            f"num_seeds ({num_seeds}) must be 1: {agent.env.name} runs on the host, where seeds are trained one by one"
        )
    if not 0 <= seed <= LARGEST_SEED - num_seeds:
        raise ValueError(f"seed ({seed}) must lie between 0 and {LARGEST_SEED - num_seeds}")
    if folder is None and resume:
        raise ValueError("resume needs the folder of the run to go on with")
    path = None if folder is None else Path(folder)
    if path is not None:
        if resume:
            open_folder(path)
        else:
            create_folder(path)
        write_config(path, config or {})
    if loggers is None:
        loggers = [TerminalLogger(path), *([FileLogger(path)] if path is not None else [])]
    run = _Run(agent, schedule, seed, num_seeds, path, evaluation_steps, checkpoint_seconds, loggers)
    try:
        with run.interruption, host.own_errors():
            return run.train(config or {})
    finally:
        run.close()


class _Run:
    """One run: what stays the same in it."""

    def __init__(
        self,
        agent: Agent,
        schedule: Schedule,
        seed: int,
        num_seeds: int,
        folder: Path | None,
        evaluation_steps: int,
        checkpoint_seconds: float,
        loggers: Sequence[Logger],
    ) -> None:
        self.agent = agent
        self.schedule = schedule
        self.seeds = np.arange(seed, seed + num_seeds)
        self.folder = folder
        self.checkpoint_seconds = checkpoint_seconds
        self.loggers = loggers
        self.checkpoints = None if folder is None else Checkpoints(checkpoints_folder(folder))
        self.interruption = Interruption()
        self.evaluation_steps = evaluation_steps
        self.programs = _programs(agent)
        self._warned = False

    def close(self) -> None:
        for logger in self.loggers:
            logger.close()

    def train(self, config: Mapping[str, Any]) -> TrainingResult:
        steps_per_iteration = self.agent.steps_per_iteration
        key, state, iteration, seconds = self._begin()
        if not self.schedule.next_chunk(iteration):
            return TrainingResult(key, state, iteration * steps_per_iteration, [])
        self._start_loggers(config, key, state, iteration * steps_per_iteration)
        rows: list[Row] = []
        started = saved = time.monotonic()
        while length := self.schedule.next_chunk(iteration):
            chunk = self.programs.compile(length, key, state, self._status)
            if self.interruption.signal is not None:
                break
            self._status("training")
            chunk_started = time.monotonic()
            key, state, kept = chunk(key, state)
            self._wait(kept)
            speed = length * steps_per_iteration * len(self.seeds) / (time.monotonic() - chunk_started)
            iteration += length
            evaluation = self._evaluate(state, iteration)
            elapsed = seconds + time.monotonic() - started
            rows = self._rows(jax.device_get(kept), evaluation, iteration * steps_per_iteration, elapsed)
            for logger in self.loggers:
                logger.log(rows, speed)
            if time.monotonic() - saved >= self.checkpoint_seconds:
                self._save(key, state, iteration, elapsed)
                saved = time.monotonic()
        self._save(key, state, iteration, seconds + time.monotonic() - started)
        if self.interruption.signal is not None:
            raise Interrupted(self.interruption.signal, self.folder, iteration * steps_per_iteration)
        return TrainingResult(key, state, iteration * steps_per_iteration, rows)

    def _begin(self) -> tuple[Key, PyTree, int, float]:
        """Keys and states to start from, iterations taken and seconds they took."""
        keys = jax.vmap(jax.random.key)(self.seeds)
        if self.checkpoints is not None and self.checkpoints.steps:
            self._status("restoring")
            checkpoint = self.checkpoints.restore(jax.eval_shape(self.programs.init, keys))
            if checkpoint is not None:
                key, state = self._reopen(*checkpoint.tree)
                return key, state, checkpoint.step // self.agent.steps_per_iteration, checkpoint.seconds
        self._status("initialising")
        key, state = self.programs.init(keys)
        # A member may start with two names for one array (a target network), which cannot be donated twice.
        return key, jax.tree.map(jnp.copy, state), 0, 0.0

    def _reopen(self, key: Key, state: PyTree) -> tuple[Key, PyTree]:
        """A restored state in environments that can go on."""
        if not self.agent.env.on_host:
            return key, state
        logging.getLogger(__name__).warning(
            "environments of %s cannot be saved: the run goes on with new episodes, and not bit for bit as if it had "
            "never stopped",
            self.agent.env.name,
        )
        return self.programs.restart(key, state)

    def _start_loggers(self, config: Mapping[str, Any], key: Key, state: PyTree, step: int) -> None:
        length = self.schedule.next_chunk(step // self.agent.steps_per_iteration)
        self._status("tracing")
        _, metrics = self.programs.trace(length, key, state).out_info[2]
        description = RunDescription(
            title=str(self.folder or type(self.agent).__name__),
            columns=(
                *("seed", "step", "seconds"),
                *EPISODE_COLUMNS,
                *EVALUATION_COLUMNS,
                *sorted(metrics),
            ),
            step=step,
            total_steps=self.schedule.total * self.agent.steps_per_iteration,
            num_seeds=len(self.seeds),
            config=config,
        )
        for logger in self.loggers:
            logger.start(description)

    def _evaluate(self, state: PyTree, iteration: int) -> Episodes | None:
        if not self.schedule.evaluates(iteration):
            return None
        self._status("evaluating")
        episodes = self.programs.evaluate(self.evaluation_steps, self.seeds, np.uint32(iteration), state)
        self._wait(episodes)
        episodes = jax.device_get(episodes)
        self._warn_of_unfinished(episodes)
        return episodes

    def _warn_of_unfinished(self, episodes: Episodes) -> None:
        """Say once in a run that its evaluations are too short for the episodes."""
        unfinished = int(np.sum(episodes.unfinished))
        if unfinished and not self._warned:
            count = int(np.sum(episodes.count))
            warning = unfinished_warning(unfinished, count, "evaluation_steps", self.evaluation_steps)
            logging.getLogger(__name__).warning("%s", warning)
            self._warned = True

    def _rows(
        self, kept: tuple[Episodes, Metrics], evaluation: Episodes | None, step: int, seconds: float
    ) -> list[Row]:
        episodes, metrics = kept
        return [
            {
                "seed": int(seed),
                "step": step,
                "seconds": round(seconds, 3),
                **episode_row(episodes, index),
                **evaluation_row(evaluation, index),
                **metrics_row(metrics, index),
            }
            for index, seed in enumerate(self.seeds)
        ]

    def _save(self, key: Key, state: PyTree, iteration: int, seconds: float) -> None:
        if self.checkpoints is not None:
            self._status("saving")
            self.checkpoints.save(iteration * self.agent.steps_per_iteration, seconds, (key, state))

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
            logger.status(text)


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
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), iteration)
            return count_evaluated_episodes(self.agent.evaluate(key, state, num_steps)[1])

        return jax.vmap(evaluate)(seeds, states)


@functools.lru_cache(maxsize=4)
def _programs(agent: Agent) -> _Programs:
    """Kept for the next run with the same agent, which then starts at once."""
    return _Programs(agent)
