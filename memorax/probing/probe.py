"""All probes of an agent, and of a run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.environments import host
from memorax.evaluation.curves import run_labels
from memorax.networks.network import Network
from memorax.probing.carries import (
    Survival,
    carries_along,
    carry_survival,
    carry_vectors,
    has_numbers,
    norms_in_episode,
)
from memorax.probing.gradients import Influence, influence
from memorax.probing.readout import Readout, linear_readout, observation_targets
from memorax.probing.returns import (
    Returns,
    ReturnsByLength,
    acting_network,
    evaluated_returns,
    play,
    returns_by_length,
)
from memorax.probing.stored_carries import Drift, drift_in_buffer, drift_of_earlier_parameters
from memorax.random_keys import key_for
from memorax.training.checkpoints import Checkpoints, Step
from memorax.training.config import build_agent
from memorax.training.folder import checkpoints_folder
from memorax.training.run import Run, load_run
from memorax.types import Carry, Key, PyTree, Timestep

EVALUATION_STEPS = 512
"""Steps in each environment of an evaluation."""

SHORTEST_RECORDING, LONGEST_RECORDING = 64, 256
"""The fewest and the most steps that are recorded of each environment: about the longest episode."""

DIFFERENTIATED_ROWS, DIFFERENTIATED_STEPS = 8, 64
"""How many environments and steps of each gradients are taken of."""

MAX_LAG = 64
"""The largest number of steps that anything is looked back."""

CARRY_PERIOD = 8
"""Steps between two carries that are taken as stored, where there is no replay buffer."""

DRIFT_STEPS = 24
"""Steps that are looked at after a stored carry."""


@dataclass(frozen=True)
class Memory:
    """What the carry of an agent is like; only of an agent that has one.

    Attributes:
        norm: mean norm of the carry `[S]` at each step of an episode.
        norm_deviation: its standard deviation over episodes, `[S]`.
        survival: how much of the carry is left after some steps.
        readout: how well past observations are read from the carry after a step.
    """

    norm: np.ndarray
    norm_deviation: np.ndarray
    survival: Survival
    readout: Readout


@dataclass(frozen=True)
class AgentProbe:
    """What one agent remembers, `influence` and all that follows of one seed.

    Attributes:
        influence: how much past inputs matter to what the acting network says.
        readout: how well past observations are read from the torso's output.
        memory: what its carry is like; None where it has none.
    """

    influence: Influence
    readout: Readout
    memory: Memory | None


@dataclass(frozen=True)
class RunProbe:
    """What the agents of a run remember.

    Attributes:
        folder: the run folder.
        label: what the run is called in pictures.
        environment: id of its environment.
        step: environment steps that each agent was trained for.
        seed: random seed of the agent that `agent` and `drift` are of.
        returns: returns of all its agents.
        wiped: returns of all its agents where carries are wiped at every step; None where there are none.
        by_length: returns of all its agents by how long must be remembered; None where the task has no such option.
        agent: the probes of one agent.
        drift: how far stored carries have drifted; None where there is no carry or no earlier one.
    """

    folder: Path
    label: str
    environment: str
    step: int
    seed: int
    returns: Returns
    wiped: Returns | None
    by_length: ReturnsByLength | None
    agent: AgentProbe
    drift: Drift | None


@dataclass(frozen=True)
class Recording:
    """What an agent saw while it acted greedily in fresh environments.

    Attributes:
        timesteps: leaves `[B, T, ...]`; the first step of each row starts an episode.
        carry: the acting network's carry before the first step, leaves `[B, ...]`.
    """

    timesteps: Timestep
    carry: Carry

    @property
    def done(self) -> np.ndarray:
        """Whether each step is the first of an episode, bool `[B, T]`."""
        return np.asarray(self.timesteps.done)

    def rows(self, number: int) -> Recording:
        """The first `number` rows."""
        return jax.tree.map(lambda x: x[:number], self)

    @property
    def longest(self) -> int:
        """Steps of the longest episode, up to where the recording ends."""
        done = np.pad(self.done, ((0, 0), (0, 1)), constant_values=True)
        return max(int(np.diff(np.flatnonzero(row)).max()) for row in done)


jax.tree_util.register_dataclass(Recording, ["timesteps", "carry"], [])


def record(agent: Algorithm[Any, Any], key: Key, state: PyTree, num_envs: int, num_steps: int) -> Recording:
    """Let an agent act greedily in fresh environments and record what it sees.

    Args:
        agent: the agent.
        key: random key.
        state: its state, of one seed.
        num_envs: environments side by side, `B` (times agents in each).
        num_steps: steps in each, `T`.
    """
    with host.own_errors():
        timesteps = jax.jit(lambda key, state: play(agent, key, state, num_envs, num_steps).timesteps)(key, state)
        jax.block_until_ready(timesteps)
    first = jax.tree.map(lambda x: x[:, 0], timesteps)
    return Recording(timesteps, acting_network(agent).initialize_carry(jax.random.key(0), first))


def probe_agent(agent: Algorithm[Any, Any], key: Key, state: PyTree, recording: Recording) -> AgentProbe:
    """Look into the memory of an agent.

    Args:
        agent: the agent.
        key: random key, of the steps that are looked at.
        state: its state, of one seed.
        recording: what it saw, at least two rows.
    """
    network, params = acting_network(agent), agent.acting_params(state)
    few = recording.rows(DIFFERENTIATED_ROWS)
    max_lag = min(recording.longest - 1, MAX_LAG)
    times_key, signs_key = jax.random.split(key)
    times = _some_steps(times_key, recording.done.shape[1])
    targets = observation_targets(agent.env.observation_space(agent.env_params), recording.timesteps.observation)
    outputs = jax.jit(functools.partial(_torso_outputs, network))(params, recording.timesteps, recording.carry)
    return AgentProbe(
        influence=influence(network, params, few.timesteps, few.carry, times, max_lag),
        readout=linear_readout(np.asarray(outputs, np.float32), targets, recording.done, max_lag),
        memory=None
        if not has_numbers(recording.carry)
        else _memory(signs_key, network, params, recording, times, max_lag, targets),
    )


def _memory(
    key: Key, network: Network, params: PyTree, recording: Recording, times: np.ndarray, max_lag: int, targets: Any
) -> Memory:
    few = recording.rows(DIFFERENTIATED_ROWS)
    along = jax.jit(lambda *arguments: carry_vectors(carries_along(network, *arguments), 2))
    vectors = np.asarray(along(params, recording.timesteps, recording.carry))
    norm, deviation = norms_in_episode(vectors, recording.done, recording.longest - 1)
    return Memory(
        norm=norm,
        norm_deviation=deviation,
        survival=carry_survival(key, network, params, few.timesteps, few.carry, times, max_lag),
        readout=linear_readout(vectors, targets, recording.done, max_lag),
    )


def _torso_outputs(network: Network, params: PyTree, timesteps: Timestep, carry: Carry) -> jax.Array:
    inputs = (timesteps.observation, timesteps.action, timesteps.reward, timesteps.done)
    outputs: jax.Array = network.apply(params, *inputs, carry, method="encode")[1]  # type: ignore[assignment]
    return outputs


def _some_steps(key: Key, num_steps: int) -> np.ndarray:
    """Some of the steps of a recording, ascending."""
    chosen = jax.random.permutation(key, num_steps)[:DIFFERENTIATED_STEPS]
    return np.sort(np.asarray(chosen))


def probe_runs(
    folders: Sequence[str | Path],
    labels: Sequence[str] = (),
    seed: int | None = None,
    episodes: int = 32,
    step: Step = "last",
) -> list[RunProbe]:
    """Look into the memories of the agents of runs.

    Args:
        folders: run folders.
        labels: what each run is called; by default by what its settings differ in from others.
        seed: random seed of the agent in each run that gradients and readouts are of; by default the first.
        episodes: environments side by side, in which episodes are looked at, at least two.
        step: which checkpoint; see `load_run`.

    Raises:
        ValueError: if a folder holds no run or no checkpoint, or a run has no such seed.
    """
    if not folders:
        raise ValueError("no run to probe: name at least one run folder")
    if episodes < 2:
        raise ValueError(f"episodes ({episodes}) must be at least 2: readouts are fitted to one half and tested on one")
    names = run_labels([Path(folder) for folder in folders], labels)
    return [
        probe_run(load_run(folder, step=step), Path(folder), label, seed, episodes)
        for folder, (_, label) in zip(folders, names, strict=True)
    ]


def probe_run(run: Run, folder: Path, label: str, seed: int | None = None, episodes: int = 32) -> RunProbe:
    """Look into the memories of the agents of a run.

    Args:
        run: the run, as `load_run` reads it.
        folder: its folder, where an earlier checkpoint is looked for.
        label: what it is called.
        seed: random seed of the agent that gradients and readouts are of; by default the first.
        episodes: environments side by side.

    Raises:
        ValueError: if the run has no such seed.
    """
    seed = run.record.seed if seed is None else seed
    agent, state = run.agent, run.seed(seed)
    evaluation_key, record_key, probe_key, drift_key = jax.random.split(key_for(jax.random.key(0), "probe"), 4)
    evaluate = functools.partial(evaluated_returns, num_envs=episodes, num_steps=EVALUATION_STEPS)
    returns = evaluate(agent, evaluation_key, run.states)
    num_steps = -(-int(np.clip(returns.longest, SHORTEST_RECORDING, LONGEST_RECORDING)) // CARRY_PERIOD) * CARRY_PERIOD
    recording = record(agent, record_key, state, episodes, num_steps)
    remembers = has_numbers(recording.carry)
    return RunProbe(
        folder=folder,
        label=label,
        environment=str(run.record.config.get("environment", agent.env.name)),
        step=run.step,
        seed=seed,
        returns=returns,
        wiped=evaluate(agent, evaluation_key, run.states, wipe=True) if remembers else None,
        by_length=_by_length(run, evaluation_key, episodes),
        agent=probe_agent(agent, probe_key, state, recording),
        drift=_drift(run, folder, seed, drift_key, recording) if remembers else None,
    )


def _by_length(run: Run, key: Key, episodes: int) -> ReturnsByLength | None:
    option, config = run.agent.env.memory_option(run.agent.env_params), run.config
    if option is None or config is None:
        return None

    def make_agent(value: int) -> Algorithm[Any, Any]:
        options = {**config.environment_options, option.name: value}
        return build_agent(dataclasses.replace(config, environment_options=options))

    return returns_by_length(make_agent, *option, key, run.states, episodes, EVALUATION_STEPS)


def _drift(run: Run, folder: Path, seed: int, key: Key, recording: Recording) -> Drift | None:
    agent, state = run.agent, run.seed(seed)
    network, params = acting_network(agent), agent.acting_params(state)
    length = min(recording.longest, DRIFT_STEPS)
    if agent.replays:
        return drift_in_buffer(key, network, params, state.buffer, agent.acting_carries, length, "its replay buffer")
    earlier = [step for step in Checkpoints(checkpoints_folder(folder)).steps if step < run.step]
    if not earlier:
        return None
    before = load_run(folder, agent, max(earlier))
    return drift_of_earlier_parameters(
        *(network, params, agent.acting_params(before.seed(seed)), recording.timesteps, recording.carry),
        period=CARRY_PERIOD,
        length=length,
        source=f"its parameters {run.step - before.step:,} steps earlier",
    )
