"""What a run says of itself: its settings, its seeds, and where it comes from, in `config.json` of its folder."""

from __future__ import annotations

import dataclasses
import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from memorax.algorithms.algorithm import Agent
from memorax.environments.interface import describe_interface
from memorax.evaluation.facts import read_facts
from memorax.evaluation.runs import CONFIG_FILE
from memorax.networks.network import Network, initialize
from memorax.training.description import changes, describe_agent
from memorax.training.folder import write_config
from memorax.training.origin import check_random_keys, describe_origin, differences
from memorax.types import Key, PyTree
from memorax.validation import json_value, whole_number


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What a run says of itself.

    Attributes:
        id: tells the run from every other one, and stays the same when it is resumed.
        name: name of its folder, or of its algorithm where it has no folder.
        seed: random seed of the first agent.
        num_seeds: agents side by side.
        total_steps: environment steps planned in each seed.
        group: what it has in common with other runs, if that was said.
        tags: words to find it by.
        config: the settings, as JSON holds them; those of `TrainConfig`, or what `train` was given.
        parameters: number of parameters of each network, in one seed.
        interface: what passes between its environment and its agent; see `memorax.environments.interface`.
        agent: its agent's settings and those of its environment; see `describe_agent`.
        origin: the surroundings it was begun in; see `describe_origin`.
        resumed: step and surroundings of each time the run was resumed.
    """

    id: str
    name: str
    seed: int
    num_seeds: int
    total_steps: int
    group: str | None = None
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, int] = dataclasses.field(default_factory=dict)
    interface: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    agent: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    resumed: tuple[Mapping[str, Any], ...] = ()

    def write(self, folder: Path) -> None:
        """Write it to a run folder, whole or not at all."""
        facts = dataclasses.asdict(self)
        write_config(folder, facts.pop("config"), facts)

    def at(self, step: int, devices: Sequence[jax.Device]) -> RunRecord:
        """The record of a run that goes on from a step in the surroundings of this process; says how they differ."""
        now = describe_origin(devices)
        last = self.resumed[-1] if self.resumed else self.origin
        if changed := differences(last, now):
            logging.getLogger(__name__).warning(
                "run %s goes on, but not bit for bit as it would have: %s", self.name, ", ".join(changed)
            )
        return dataclasses.replace(self, resumed=(*self.resumed, {"step": step, **now}))


def new_record(
    agent: Agent,
    folder: Path | None,
    seed: int,
    num_seeds: int,
    total_steps: int,
    config: Mapping[str, Any],
    group: str | None,
    tags: Sequence[str],
    devices: Sequence[jax.Device],
) -> RunRecord:
    """The record of a run that begins here and now."""
    return RunRecord(
        id=uuid.uuid4().hex[:8],
        name=type(agent).__name__ if folder is None else folder.absolute().name,
        seed=seed,
        num_seeds=num_seeds,
        total_steps=total_steps,
        group=group,
        tags=tuple(tags),
        config=json_value("config", config),
        parameters=count_parameters(agent),
        interface=_interface(agent),
        agent=describe_agent(agent),
        origin=describe_origin(devices),
    )


def read_record(folder: Path) -> RunRecord:
    """The record of the run in a folder.

    Raises:
        ValueError: if there is no run in it, or random keys of this process are of another kind.
    """
    content = read_facts(folder)
    config = content["config"]
    known = {field.name for field in dataclasses.fields(RunRecord)}
    # A folder may hold settings alone: those of a run that is yet to begin.
    facts = {
        "id": uuid.uuid4().hex[:8],
        "name": folder.absolute().name,
        **{
            name: whole_number(f"{folder / CONFIG_FILE}: {name}", config.get(name, default))
            for name, default in (("seed", 0), ("num_seeds", 1), ("total_steps", 0))
            if name not in content
        },
        **{name: value for name, value in content.items() if name in known},
    }
    record = RunRecord(**{**facts, "tags": tuple(facts.get("tags", ())), "resumed": tuple(facts.get("resumed", ()))})
    check_random_keys(record.origin, folder)
    return record


def resumed_record(
    agent: Agent, folder: Path, seed: int, num_seeds: int, total_steps: int, config: Mapping[str, Any] | None
) -> RunRecord:
    """The record of the run in a folder, to go on with for `total_steps`.

    Args:
        agent: the agent that goes on. Where its settings differ from those that the run had, this is told and kept.
        folder: the run folder.
        seed: must be that of the run.
        num_seeds: must be that of the run.
        total_steps: environment steps in each seed, from the beginning.
        config: settings in place of the run's.

    Raises:
        ValueError: if there is no run in the folder or it has other seeds, or if its config describes another agent.
    """
    record = read_record(folder)
    for name, value in (("seed", seed), ("num_seeds", num_seeds)):
        if value != getattr(record, name):
            raise ValueError(f"{name} ({value}) must be {getattr(record, name)}, as in the run in {folder}")
    now = describe_agent(agent)
    if changed := changes(record.agent, now):
        if config is None and "hyperparameters" in record.config:
            raise ValueError(
                f"agent is not the one that the config of {folder} describes ({', '.join(changed)}): "
                f"go on with that by `memorax resume {folder}`, or choose another folder"
            )
        warn_of_another_agent(record, changed)
        record = dataclasses.replace(record, agent=now)
    if config is None:
        config = {**record.config, **({"total_steps": total_steps} if "total_steps" in record.config else {})}
    return dataclasses.replace(record, total_steps=total_steps, config=json_value("config", config))


def warn_of_another_agent(record: RunRecord, changed: Sequence[str]) -> None:
    """Say how an agent differs from that of a run, where it does."""
    if changed:
        logging.getLogger(__name__).warning("the agent is not that of run %s: %s", record.name, ", ".join(changed))


def count_parameters(agent: Agent) -> dict[str, int]:
    """How many numbers each of an agent's networks learns, by the network's name."""
    key = jax.random.key(0)
    _, state = jax.eval_shape(agent.init, key)
    return {name: _count(network, key, state.worker.timestep) for name, network in agent.networks.items()}


def _interface(agent: Agent) -> dict[str, Any]:
    """What passes between an agent and its environment; nothing where a space is of a kind of one's own."""
    try:
        return describe_interface(agent.env, agent.env_params).to_json()
    except ValueError:
        return {}


def _count(network: Network, key: Key, timestep: PyTree) -> int:
    variables, _ = jax.eval_shape(lambda key, timestep: initialize(network, key, timestep), key, timestep)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables.get("params", {})))
