"""Whole runs: from settings to a folder, resumed, and evaluated."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from memorax.algorithms.algorithm import Agent
from memorax.algorithms.argument_checks import require_agent
from memorax.environments import host
from memorax.evaluation.episodes import EvaluatedEpisodes, evaluated_episodes
from memorax.evaluation.plot import plot_runs
from memorax.evaluation.rendering import check_animation, render_episodes, write_animation
from memorax.evaluation.runs import CONFIG_FILE
from memorax.loggers import Logger, make_loggers
from memorax.loggers.file import METRICS_FILE
from memorax.random_keys import key_for
from memorax.training.callbacks import Callback
from memorax.training.checkpoints import Checkpoints, Step
from memorax.training.config import TrainConfig, build_agent, config_to_json
from memorax.training.description import changes, describe_agent
from memorax.training.folder import checkpoints_folder, folder_path, load_config, make_default_folder
from memorax.training.loop import DEFAULT_EVALUATION_LENGTH, TrainingResult, train
from memorax.training.processes import is_first
from memorax.training.record import RunRecord, read_record, warn_of_another_agent
from memorax.types import Key, PyTree
from memorax.validation import positive_whole_number, random_seed, true_or_false, whole_number

LEARNING_CURVE = "learning_curve.png"
EPISODE = "episode.gif"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as it is at a checkpoint.

    Attributes:
        record: what it says of itself: its id, seeds, settings and surroundings.
        config: the settings its agent was built from; None where the agent was made in Python.
        agent: the agent that was trained.
        step: environment steps taken in each seed.
        states: states of all seeds, leaves `[num_seeds, ...]`.
    """

    record: RunRecord
    config: TrainConfig | None
    agent: Agent
    step: int
    states: PyTree

    @property
    def seeds(self) -> range:
        """The random seeds of its agents."""
        return range(self.record.seed, self.record.seed + self.record.num_seeds)

    def seed(self, seed: int) -> PyTree:
        """The state of one agent.

        Args:
            seed: random seed of the agent.

        Raises:
            ValueError: if the run has no such seed.
        """
        seed = whole_number("seed", seed)
        if seed not in self.seeds:
            raise ValueError(f"seed ({seed!r}) must be one of the run's: {', '.join(map(str, self.seeds))}")
        return jax.tree.map(lambda x: x[seed - self.record.seed], self.states)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The returns of a run's agents in an evaluation.

    Attributes:
        step: environment steps that each agent was trained for.
        num_steps: environment steps that each agent was evaluated for, over all environments.
        seeds: the agents' seeds, `S` of them.
        returns: `S` arrays, the returns of the episodes that count (see `memorax.evaluation.evaluated_episodes`).
        lengths: `S` arrays, the lengths of the same episodes in steps.
        unfinished: `S` numbers, how many of these episodes had not ended when the evaluation did.
    """

    step: int
    num_steps: int
    seeds: list[int]
    returns: list[np.ndarray]
    lengths: list[np.ndarray]
    unfinished: list[int]


def run_config(
    config: TrainConfig,
    folder: str | Path | None = None,
    loggers: Sequence[Logger] | None = None,
    callbacks: Sequence[Callback] = (),
    debug: bool = False,
) -> tuple[Path, TrainingResult]:
    """Train the agent a config describes, in a new run folder, and draw its learning curve there.

    Args:
        config: the settings.
        folder: the run folder; by default one in `runs/` named after the settings and the time.
        loggers: loggers to use in place of those that the config names.
        callbacks: functions to call after each chunk; see `train`.
        debug: find the operation that made the first NaN or infinity; see `train`.

    Returns:
        The folder and where the run ended.

    Raises:
        ValueError: if the settings do not fit together, or the folder holds another run.
    """
    given = None if folder is None else folder_path("folder", folder)
    agent = build_agent(config)
    path = make_default_folder(config) if given is None else given
    try:
        return path, _train(agent, config, path, False, loggers, callbacks, debug)
    finally:
        if given is None and not (path / CONFIG_FILE).exists():
            shutil.rmtree(path)


def resume_run(
    folder: str | Path,
    total_steps: int | None = None,
    loggers: Sequence[Logger] | None = None,
    callbacks: Sequence[Callback] = (),
    debug: bool = False,
    devices: int | None = None,
) -> TrainingResult:
    """Go on with the run in a folder.

    Args:
        folder: the run folder.
        total_steps: train for longer than the config says.
        loggers: loggers to use in place of those that the config names.
        callbacks: functions to call after each chunk; see `train`.
        debug: find the operation that made the first NaN or infinity; see `train`.
        devices: number of devices in place of what the config says.

    Raises:
        ValueError: if there is no run in the folder or it cannot be resumed.
    """
    path = folder_path("folder", folder)
    config = load_config(path)
    if total_steps is not None:
        before, config = config.total_steps, dataclasses.replace(config, total_steps=total_steps)
        if config.anneal_lr and config.total_steps != before:
            logging.getLogger(__name__).warning(
                f"learning rates were to reach zero at step {before:,}, and now at step {config.total_steps:,}: "
                "they jump, and the run is not as one that was begun so"
            )
    if devices is not None:
        config = dataclasses.replace(config, devices=devices)
    return _train(build_agent(config), config, path, True, loggers, callbacks, debug)


def load_run(folder: str | Path, agent: Agent | None = None, step: Step = "last") -> Run:
    """Read the agents of a run as they are at a checkpoint.

    Args:
        folder: the run folder.
        agent: the agent, where it was made in Python; by default the one the run's config describes.
        step: which checkpoint: "last" for the last intact one, "best" for the one with the best mean evaluation return
            over seeds, or its number of environment steps.

    Raises:
        ValueError: if there is no run in the folder, no such checkpoint, or that of another agent.
    """
    path = folder_path("folder", folder)
    record = read_record(path)
    if agent is not None:
        require_agent(agent)
    config = load_config(path) if agent is None else None
    agent = build_agent(config) if config is not None else agent
    assert agent is not None
    warn_of_another_agent(record, changes(record.agent, describe_agent(agent)))
    keys = jax.vmap(jax.random.key)(np.arange(record.seed, record.seed + record.num_seeds))
    template = jax.eval_shape(jax.vmap(agent.init), keys)
    checkpoint = Checkpoints(checkpoints_folder(path)).restore(template, step)
    if checkpoint is None:
        raise ValueError(f"{folder} holds no checkpoint yet: go on with it by `memorax resume {folder}`")
    return Run(record, config, agent, checkpoint.step, checkpoint.tree[1])


def evaluate_run(
    folder: str | Path,
    num_steps: int | None = None,
    seed: int = 0,
    deterministic: bool = True,
    agent: Agent | None = None,
    step: Step = "last",
) -> Evaluation:
    """Evaluate the agents of a run as they are at a checkpoint.

    Args:
        folder: the run folder.
        num_steps: environment steps for each seed, over all environments; by default 1024 in each.
        seed: random seed of the evaluation.
        deterministic: act greedily; otherwise as in training.
        agent: the agent, where it was made in Python.
        step: which checkpoint; see `load_run`.

    Raises:
        ValueError: if there is no run in the folder, or no checkpoint, or the seed is none.
    """
    seed, deterministic = random_seed("seed", seed), true_or_false("deterministic", deterministic)
    num_steps = None if num_steps is None else whole_number("num_steps", num_steps)
    run = load_run(folder, agent, step)
    trained = run.agent
    num_steps = DEFAULT_EVALUATION_LENGTH * trained.cfg.num_envs if num_steps is None else num_steps

    def evaluate(key: Key, state: PyTree) -> EvaluatedEpisodes:
        return evaluated_episodes(trained.evaluate(key, state, num_steps, deterministic)[1])

    keys = jax.random.split(key_for(jax.random.key(seed), "evaluate a run"), len(run.seeds))
    with host.own_errors():
        episodes = jax.device_get(jax.jit(jax.vmap(evaluate))(keys, run.states))  # (S, B, T)
    return Evaluation(
        step=run.step,
        num_steps=num_steps,
        seeds=list(run.seeds),
        returns=[values[counted] for values, counted in zip(episodes.returns, episodes.counted, strict=True)],
        lengths=[values[counted] for values, counted in zip(episodes.lengths, episodes.counted, strict=True)],
        unfinished=episodes.unfinished.sum(axis=1).tolist(),
    )


def render_run(
    folder: str | Path,
    output: str | Path | None = None,
    seed: int | None = None,
    num_episodes: int = 1,
    num_steps: int = 1000,
    frames_per_second: float = 10.0,
    environment_seed: int = 0,
    deterministic: bool = True,
    agent: Agent | None = None,
    step: Step = "last",
) -> Path:
    """Draw an agent of a run while it acts, as it is at a checkpoint.

    Args:
        folder: the run folder.
        output: the animation to write, `.gif` or `.mp4`; by default `episode.gif` in the folder.
        seed: random seed of the agent to draw; by default the first of the run.
        num_episodes: number of episodes.
        num_steps: steps after which to stop in any case.
        frames_per_second: frames shown in a second.
        environment_seed: random seed of the environment.
        deterministic: act greedily; otherwise as in training.
        agent: the agent, where it was made in Python.
        step: which checkpoint; see `load_run`.

    Returns:
        The path of the animation.

    Raises:
        ValueError: if there is no run in the folder, or no checkpoint, or no such seed; if the environment cannot be
            drawn or the animation not be written.
    """
    folder = folder_path("folder", folder)
    path = check_animation(folder / EPISODE if output is None else folder_path("output", output))
    environment_seed = random_seed("environment_seed", environment_seed)
    num_episodes = positive_whole_number("num_episodes", num_episodes)
    num_steps = positive_whole_number("num_steps", num_steps)
    deterministic = true_or_false("deterministic", deterministic)
    run = load_run(folder, agent, step)
    state = run.seed(run.record.seed if seed is None else seed)
    key = key_for(jax.random.key(environment_seed), "render")
    frames = render_episodes(run.agent, key, state, num_episodes, num_steps, deterministic)
    return write_animation(list(frames), path, frames_per_second)


def _train(
    agent: Agent,
    config: TrainConfig,
    folder: Path,
    resume: bool,
    loggers: Sequence[Logger] | None,
    callbacks: Sequence[Callback],
    debug: bool,
) -> TrainingResult:
    result = train(
        agent,
        total_steps=config.total_steps,
        seed=config.seed,
        num_seeds=config.num_seeds,
        folder=folder,
        resume=resume,
        log_interval=config.log_interval,
        evaluation_interval=config.evaluation_interval,
        evaluation_steps=config.evaluation_steps,
        checkpoint_seconds=config.checkpoint_seconds,
        loggers=make_loggers(config.loggers, folder) if loggers is None else loggers,
        config=config_to_json(config),
        group=config.group,
        tags=config.tags,
        callbacks=callbacks,
        keep_checkpoints=config.keep_checkpoints,
        patience=config.patience,
        on_nan=config.on_nan,
        debug=debug,
        devices=config.devices,
    )
    if is_first() and (folder / METRICS_FILE).exists():
        try:
            plot_runs([folder], folder / LEARNING_CURVE)
        except ValueError as error:
            # As where no episode has ended. The agents are trained all the same.
            logging.getLogger(__name__).warning("%s is not drawn: %s", LEARNING_CURVE, error)
    return result
