"""Loads policies: of runs, and of what was exported."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp

from memorax.deployment.arguments import described
from memorax.deployment.exported import load_exported
from memorax.deployment.hub import download, is_hub
from memorax.deployment.manifest import is_exported, read_manifest
from memorax.deployment.policy import Policy
from memorax.validation import whole_number

if TYPE_CHECKING:
    from memorax.algorithms.algorithm import Agent
    from memorax.deployment.acting import AgentProgram
    from memorax.training.checkpoints import Step

STATE = "1."
"""What the names of a checkpoint's arrays start with that are of the agents' states; the others are random keys."""


def load_policy(
    source: str | Path,
    seed: int | None = None,
    deterministic: bool = True,
    sampling_seed: int = 0,
    step: Step = "last",
    agent: Agent | None = None,
) -> Policy:
    """Load the policy of a trained agent, ready to act.

    Neither the environment nor its package is needed; for an exported policy, neither is any network.

    Args:
        source: the folder of a run, that of an exported policy, or `hub:NAME` for one that was pushed.
        seed: random seed of the agent; by default the first of the run. An exported policy is that of one agent.
        deterministic: act greedily; otherwise sample as in training.
        sampling_seed: random seed of what is sampled.
        step: which checkpoint of the run; see `load_run`.
        agent: the agent, where it was made in Python.

    Raises:
        ValueError: if there is neither a run nor a policy in the folder, no checkpoint, or no such seed; if the
            checkpoint is that of another agent, or a file of an exported policy is missing or damaged.
        ImportError: if a package is missing that exported policies need, naming the command that installs it.
    """
    if not isinstance(source, str | Path):
        raise ValueError(f"source ({described(source)}) must be a folder, or hub:NAME")
    folder = download(source) if is_hub(source) else Path(source)
    if not is_exported(folder):
        return Policy(load_program(folder, seed, step, agent)[0], deterministic, sampling_seed)
    trained = read_manifest(folder).get("training", {}).get("seed", seed)
    if seed not in (None, trained):
        raise ValueError(f"seed ({seed}) must be that of the exported policy: {trained}")
    for name, value, default in (("step", step, "last"), ("agent", agent, None)):
        if value != default:
            raise ValueError(f"{name} must be left out: {source} is an exported policy, which is as it was then")
    return Policy(load_exported(folder), deterministic, sampling_seed)


def load_program(
    folder: Path, seed: int | None = None, step: Step = "last", agent: Agent | None = None
) -> tuple[AgentProgram, int]:
    """The program of a run's agent, and the environment steps it was trained for; see `load_policy`."""
    # Here rather than above: what was exported is loaded without any of it.
    from memorax.algorithms.argument_checks import require_agent
    from memorax.deployment.acting import Acting, make_program, require_same_agent, take_params
    from memorax.environments.interface import describe_interface, interface_from_json
    from memorax.environments.playback import PlaybackEnvironment
    from memorax.training.checkpoints import Checkpoints
    from memorax.training.config import build_agent
    from memorax.training.description import changes, describe_agent
    from memorax.training.folder import checkpoints_folder, load_config
    from memorax.training.record import read_record, warn_of_another_agent

    record = read_record(folder)
    seed = record.seed if seed is None else whole_number("seed", seed)
    seeds = range(record.seed, record.seed + record.num_seeds)
    if seed not in seeds:
        raise ValueError(f"seed ({seed}) must be one of the run's: {', '.join(map(str, seeds))}")
    if agent is not None:
        require_agent(agent)
        warn_of_another_agent(record, changes(record.agent, describe_agent(agent)))
    if agent is None and record.interface:
        interface = interface_from_json(record.interface)
        playback = PlaybackEnvironment(interface.seen_space, interface.chosen_space, interface.num_agents)
        agent = build_agent(load_config(folder), (playback, None))
    else:
        # A run of an earlier version does not say what its spaces were.
        agent = build_agent(load_config(folder)) if agent is None else agent
        interface = describe_interface(agent.env, agent.env_params)
    acting = Acting(agent, interface)

    def choose(names: Collection[str]) -> Iterable[str]:
        of_the_state = [name.removeprefix(STATE) for name in names if name.startswith(STATE)]
        return [f"{STATE}{name}" for name in acting.sources(of_the_state).values()]

    read = Checkpoints(checkpoints_folder(folder)).read(choose, step)
    if read is None:
        raise ValueError(f"{folder} holds no checkpoint yet: go on with it by `memorax resume {folder}`")
    index = seed - record.seed
    arrays = {name.removeprefix(STATE): jnp.asarray(array[index]) for name, array in read[1].items()}
    require_same_agent(acting, arrays, folder)
    return make_program(agent, interface, acting, take_params(acting, arrays)), read[0]
