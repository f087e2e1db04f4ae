"""Whole runs: from settings to a folder, resumed, and evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memorax.environments import host
from memorax.evaluation.episodes import EvaluatedEpisodes, evaluated_episodes
from memorax.evaluation.plot import plot_runs
from memorax.evaluation.rendering import check_animation, render_episodes, write_animation
from memorax.loggers import Logger, make_loggers
from memorax.training.checkpoints import Checkpoints
from memorax.training.config import TrainConfig, build_agent, config_to_json
from memorax.training.folder import checkpoints_folder, default_folder, load_config
from memorax.training.loop import DEFAULT_EVALUATION_LENGTH, TrainingResult, train
from memorax.types import Key, PyTree

LEARNING_CURVE = "learning_curve.png"
EPISODE = "episode.gif"


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
    config: TrainConfig, folder: str | Path | None = None, loggers: Sequence[Logger] | None = None
) -> tuple[Path, TrainingResult]:
    """Train the agent a config describes, in a new run folder, and draw its learning curve there.

    Args:
        config: the settings.
        folder: the run folder; by default one in `runs/` named after the settings and the time.
        loggers: in place of those the config names.

    Returns:
        The folder and where the run ended.

    Raises:
        ValueError: if the settings do not fit together, or the folder holds another run.
    """
    path = default_folder(config) if folder is None else Path(folder)
    return path, _train(config, path, resume=False, loggers=loggers)


def resume_run(
    folder: str | Path, total_steps: int | None = None, loggers: Sequence[Logger] | None = None
) -> TrainingResult:
    """Go on with the run in a folder.

    Args:
        folder: the run folder.
        total_steps: train for longer than the config says.
        loggers: in place of those the config names.

    Raises:
        ValueError: if there is no run in the folder or it cannot be resumed.
    """
    config = load_config(Path(folder))
    if total_steps is not None:
        config = dataclasses.replace(config, total_steps=total_steps)
    return _train(config, Path(folder), resume=True, loggers=loggers)


def load_run(folder: str | Path) -> tuple[TrainConfig, Any, int, PyTree]:
    """The agent of a run and its states at the last intact checkpoint.

    Returns:
        `(config, agent, step, states)` with leaves `[num_seeds, ...]`.

    Raises:
        ValueError: if there is no run in the folder, or no checkpoint.
    """
    config = load_config(Path(folder))
    agent = build_agent(config)
    keys = jax.vmap(jax.random.key)(np.arange(config.seed, config.seed + config.num_seeds))
    checkpoint = Checkpoints(checkpoints_folder(Path(folder))).restore(jax.eval_shape(jax.vmap(agent.init), keys))
    if checkpoint is None:
        raise ValueError(f"{folder} holds no checkpoint yet: go on with it by `memorax resume {folder}`")
    return config, agent, checkpoint.step, checkpoint.tree[1]


def evaluate_run(
    folder: str | Path, num_steps: int | None = None, seed: int = 0, deterministic: bool = True
) -> Evaluation:
    """Evaluate the agents of a run as they are at its last intact checkpoint.

    Args:
        folder: the run folder.
        num_steps: environment steps for each seed, over all environments; by default 1024 in each.
        seed: of the evaluation.
        deterministic: act greedily; otherwise as in training.

    Raises:
        ValueError: if there is no run in the folder, or no checkpoint.
    """
    config, agent, step, states = load_run(folder)
    num_steps = DEFAULT_EVALUATION_LENGTH * agent.cfg.num_envs if num_steps is None else num_steps

    def evaluate(key: Key, state: PyTree) -> EvaluatedEpisodes:
        return evaluated_episodes(agent.evaluate(key, state, num_steps, deterministic)[1])

    keys = jax.random.split(jax.random.key(seed), config.num_seeds)
    with host.own_errors():
        episodes = jax.device_get(jax.jit(jax.vmap(evaluate))(keys, states))  # (S, B, T)
    return Evaluation(
        step=step,
        num_steps=num_steps,
        seeds=list(range(config.seed, config.seed + config.num_seeds)),
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
) -> Path:
    """Draw an agent of a run while it acts, as it is at the last intact checkpoint.

    Args:
        folder: the run folder.
        output: the animation to write, `.gif` or `.mp4`; by default `episode.gif` in the folder.
        seed: which of the run's agents, by its seed; by default the first.
        num_episodes: how many episodes.
        num_steps: steps after which to stop in any case.
        frames_per_second: how fast it plays.
        environment_seed: of the environment.
        deterministic: act greedily; otherwise as in training.

    Returns:
        The path of the animation.

    Raises:
        ValueError: if there is no run in the folder, or no checkpoint, or no such seed; if the environment cannot be
            drawn or the animation not be written.
    """
    path = check_animation(Path(folder) / EPISODE if output is None else output)
    config, agent, _, states = load_run(folder)
    seed = config.seed if seed is None else seed
    if not 0 <= seed - config.seed < config.num_seeds:
        seeds = range(config.seed, config.seed + config.num_seeds)
        raise ValueError(f"seed ({seed}) must be one of the run's: {', '.join(map(str, seeds))}")
    state = jax.tree.map(lambda x: x[seed - config.seed], states)
    key = jax.random.key(environment_seed)
    frames = render_episodes(agent, key, state, num_episodes, num_steps, deterministic)
    return write_animation(list(frames), path, frames_per_second)


def _train(config: TrainConfig, folder: Path, resume: bool, loggers: Sequence[Logger] | None) -> TrainingResult:
    result = train(
        build_agent(config),
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
    )
    if "file" in config.loggers:
        plot_runs([folder], folder / LEARNING_CURVE)
    return result
