"""How well trained agents do, and how much they know besides what they see; kept in their run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

import memorax
from memorax.environments import host
from memorax.environments.spaces import policy_space
from memorax.evaluation.ambiguity import Ambiguity, measure_ambiguity
from memorax.evaluation.episodes import evaluated_episodes, mean_return
from memorax.files import write_whole
from memorax.learning.exploration import random_actions
from memorax.random_keys import key_for
from memorax.rollout import rollout, start
from memorax.training.run import load_run
from memorax.types import Carry, Key, PyTree, Timestep, Transition

MEASUREMENT_FILE = "measurement.json"


@dataclass(frozen=True)
class Measurement:
    """What the seeds of an agent do after training.

    Attributes:
        seeds: random seeds, `S` of them.
        greedy: mean return of each seed with its best actions, `[S]`.
        sampled: mean return of each seed with actions drawn as in training, `[S]`.
        unfinished: episodes that had not ended when the measurement did; they count with what they had reached.
        ambiguity: of the greedy play of each seed.
    """

    seeds: tuple[int, ...]
    greedy: tuple[float, ...]
    sampled: tuple[float, ...]
    unfinished: int
    ambiguity: tuple[Ambiguity, ...]

    @property
    def returns(self) -> np.ndarray:
        """The better of greedy and sampled play by the mean over seeds, `[S]`; NaN is the worst.

        The best policy without memory may have to be random where observations are ambiguous.
        """
        greedy, sampled = np.array(self.greedy), np.array(self.sampled)
        return sampled if sampled.mean() > np.nan_to_num(greedy.mean(), nan=-np.inf) else greedy

    @property
    def ambiguous(self) -> np.ndarray:
        """The share of ambiguous steps of each seed, `[S]`, NaN where no observation repeats."""
        return np.array([each.share for each in self.ambiguity])


def join_measurements(parts: Sequence[Measurement]) -> Measurement:
    """Measurements of several runs of an agent as one."""
    return Measurement(
        seeds=tuple(seed for part in parts for seed in part.seeds),
        greedy=tuple(value for part in parts for value in part.greedy),
        sampled=tuple(value for part in parts for value in part.sampled),
        unfinished=sum(part.unfinished for part in parts),
        ambiguity=tuple(each for part in parts for each in part.ambiguity),
    )


def measure_run(folder: Path, num_steps: int) -> Measurement:
    """Measure the seeds of a run as they are at its last checkpoint, in fresh environments.

    What was measured once with as many steps is read from the run folder.

    Args:
        folder: the run folder.
        num_steps: environment steps for each seed, over all environments, greedily and once more with sampled actions.
    """
    kept = _read(folder / MEASUREMENT_FILE, num_steps)
    if kept is not None:
        return Measurement(
            seeds=tuple(kept["seeds"]),
            greedy=tuple(kept["greedy"]),
            sampled=tuple(kept["sampled"]),
            unfinished=kept["unfinished"],
            ambiguity=tuple(Ambiguity(**fields) for fields in kept["ambiguity"]),
        )
    run = load_run(folder)
    greedy: list[float] = []
    sampled: list[float] = []
    ambiguity: list[Ambiguity] = []
    unfinished = 0
    for seed in run.seeds:
        state, key = run.seed(seed), key_for(jax.random.key(seed), "measure")
        key, best = run.agent.evaluate(key, state, num_steps)
        key, drawn = run.agent.evaluate(key, state, num_steps, deterministic=False)
        greedy.append(float(mean_return(best)))
        sampled.append(float(mean_return(drawn)))
        unfinished += int(evaluated_episodes(best).unfinished.sum())
        ambiguity.append(_ambiguity(best))
    measurement = Measurement(tuple(run.seeds), tuple(greedy), tuple(sampled), unfinished, tuple(ambiguity))
    _write(folder / MEASUREMENT_FILE, num_steps, asdict(measurement))
    return measurement


def measure_random_play(
    folder: Path, environment: str, options: Mapping[str, Any], num_steps: int, num_envs: int, num_plays: int
) -> np.ndarray:
    """Mean returns of plays of uniformly random legal actions.

    What was measured once with as many steps and plays is read from the folder.

    Args:
        folder: folder to keep them in, which is made.
        environment: id of the environment.
        options: its options.
        num_steps: environment steps of a play, over all environments.
        num_envs: environments side by side.
        num_plays: number of plays.

    Returns:
        `[num_plays]`.
    """
    kept = _read(folder / MEASUREMENT_FILE, num_steps)
    if kept is not None and len(kept["returns"]) == num_plays:
        return np.array(kept["returns"])
    env, env_params = memorax.make(environment, **options)
    environments, space = env.vectorize(num_envs), policy_space(env.action_space(env_params))

    def policy(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, PyTree, PyTree]:
        return carry, random_actions(key, space, timestep.observation, environments.batch_size), {}

    @jax.jit
    def play(key: Key) -> jax.Array:
        start_key, rollout_key = jax.random.split(key)
        worker = start(start_key, environments, env_params, lambda timestep: ())
        length = -(-num_steps // num_envs)
        worker, trajectory = rollout(environments, env_params, policy, worker, rollout_key, length)
        host.close(worker.env_state)
        return mean_return(trajectory.transition)

    with host.own_errors():
        keys = [key_for(jax.random.key(number), "play at random") for number in range(num_plays)]
        returns = [float(play(key)) for key in keys]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / MEASUREMENT_FILE, num_steps, {"returns": returns})
    return np.array(returns)


def _ambiguity(transitions: Transition) -> Ambiguity:
    """The ambiguity of a play; an agent that went out does not count."""
    steps = jax.device_get((transitions.observation, transitions.action, transitions.info.get("active")))
    observation, action, active = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    if active is not None:
        observation, action = jax.tree.map(lambda x: x[active], (observation, action))
    return measure_ambiguity(observation, action)


def _write(path: Path, num_steps: int, content: Mapping[str, Any]) -> None:
    """Write a measurement whole or not at all."""
    write_whole(path, json.dumps({"num_steps": num_steps, **content}, indent=2) + "\n")


def _read(path: Path, num_steps: int) -> dict[str, Any] | None:
    """What was measured with as many steps, if that is kept."""
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    return content if content.pop("num_steps") == num_steps else None
