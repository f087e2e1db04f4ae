"""How an agent acts in an environment that is not there: its networks, and the wrappers around the environment."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.algorithm import Agent
from memorax.deployment.program import Arrays, Program, Step
from memorax.environments.environment import Environment
from memorax.environments.interface import Interface, describe_interface
from memorax.environments.make import wrapped
from memorax.environments.playback import Arrived, PlaybackEnvironment, Received
from memorax.environments.spaces import environment_action, policy_space
from memorax.environments.wrappers import NormalizeObservation, NormalizeReward, Wrapper
from memorax.environments.wrappers.running_statistics import RunningStatistics, for_all
from memorax.training.checkpoints import from_arrays, named_leaves
from memorax.types import Array, Carry, Key, PyTree, Timestep, where

AGENTS_PARTS = ("agent_id", "global_state")
"""Keywords of the wrappers that show what only an environment of several agents knows; a playback shows it itself."""

STATISTICS: Mapping[type[Environment], str] = {
    NormalizeObservation: "observation_statistics",
    NormalizeReward: "reward_statistics",
}
"""What the parameters call the running statistics of a wrapper."""

STATISTICS_FIELDS = tuple(field.name for field in dataclasses.fields(RunningStatistics))

OF_THE_WRAPPERS = re.compile(r"worker\.env_state(\.env_state)*\.statistics\.mean")


class Acting:
    """The pure functions of an agent that acts; nothing of the agent's environment is called.

    Args:
        agent: the agent; only its networks and its way of acting are used.
        interface: what lies between its environment and itself.
    """

    def __init__(self, agent: Agent, interface: Interface) -> None:
        self.interface = interface
        self._agent = agent
        carried = interface.carried
        playback = PlaybackEnvironment(
            interface.observation_space,
            interface.action_space,
            interface.num_agents,
            [keyword for keyword in AGENTS_PARTS if keyword in carried],
        )
        self._wrappers = wrapped(playback, {k: value for k, value in carried.items() if k not in AGENTS_PARTS})
        key = jax.random.key(0)
        _, self._state = jax.eval_shape(agent.init, key)
        self._read = self._find_read(key)
        one_environment = self._wrappers.vectorize(1)
        _, memory = jax.eval_shape(one_environment.reset, key, None)
        self._memory_leaves = named_leaves(memory, _is_shared)
        self._memory_structure = jax.tree.structure(memory, is_leaf=_is_shared)

    def sources(self, names: Iterable[str]) -> dict[str, str]:
        """Where each parameter comes from: names of arrays in the agent's state, by names of parameters.

        Args:
            names: the names of all arrays in the state, as `named_leaves` spells them.
        """
        found = [name.removesuffix("mean") for name in names if OF_THE_WRAPPERS.fullmatch(name)]
        outermost_first = sorted(found, key=len)
        return {name: name for name in self._read} | {
            f"{kind}.{field}": f"{prefix}{field}"
            for kind, prefix in zip(reversed(self.statistics), outermost_first, strict=False)
            for field in STATISTICS_FIELDS
        }

    def first_carry(self) -> dict[str, np.ndarray]:
        """The carry before the first step in one environment, leaves `[num_agents, ...]`."""
        network = next(iter(self._agent.networks.values()))
        rows = self.interface.num_agents
        timestep = jax.tree.map(lambda x: jnp.zeros((rows, *x.shape[1:]), x.dtype), self._state.worker.timestep)
        carry = network.initialize_carry(jax.random.key(0), timestep)
        memory = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in self._memory_leaves if not _is_shared(leaf)}
        return jax.device_get(self._carry(carry, memory, timestep.action))

    def step(
        self,
        params: Arrays,
        observation: PyTree,
        carry: Arrays,
        done: Array,
        reward: Array,
        key: Key | None = None,
    ) -> tuple[PyTree, Arrays]:
        """See `memorax.deployment.program.Step`; greedy without a key."""
        rows, previous_action = done.shape[0], carry["previous_action"]
        space = self.interface.chosen_space
        arrived = Arrived(observation, reward, done)
        memory = self._memory(params, carry)
        wrappers = self._wrappers.vectorize(rows // self.interface.num_agents).frozen(memory)

        def pass_on(memory: PyTree, action: PyTree) -> tuple[PyTree, PyTree, Array]:
            """What the wrappers make of an action and of what arrived after it."""
            taken = environment_action(space, action)
            seen, after, paid, *_ = wrappers.step(jax.random.key(0), memory, taken, arrived)
            return after, seen, paid

        memory, seen, reward = pass_on(memory, previous_action)
        no_action, no_reward = jax.tree.map(jnp.zeros_like, (previous_action, reward))
        shown_action, shown_reward = where(done, (no_action, no_reward), (previous_action, reward))
        policy = self._agent.policy(self._filled(params), deterministic=key is None)
        network_carry, action, _ = policy(
            jax.random.key(0) if key is None else key,
            Timestep(seen, shown_action, shown_reward, done),
            self._network_carry(carry),
        )
        action = action.astype(previous_action.dtype)
        # What arrives after this action is not known yet; the wrappers are asked only what the environment is given.
        received = pass_on(memory, action)[0]
        kept = {name: leaf for name, leaf in named_leaves(memory, _is_shared) if not _is_shared(leaf)}
        return self._innermost(received).action, self._carry(network_carry, kept, action)

    def _find_read(self, key: Key) -> list[str]:
        """The names of all that acting reads of the agent's state."""

        def act(state: PyTree, key: Key, timestep: Timestep, carry: Carry) -> PyTree:
            both = [self._agent.policy(state, greedily)(key, timestep, carry)[:2] for greedily in (True, False)]
            return both

        worker = self._state.worker
        program = jax.make_jaxpr(act)(self._state, key, worker.timestep, worker.carry).jaxpr
        used = {id(variable) for equation in program.eqns for variable in equation.invars}
        used |= {id(variable) for variable in program.outvars}
        leaves = named_leaves(self._state)
        return [name for (name, _), variable in zip(leaves, program.invars, strict=False) if id(variable) in used]

    def _filled(self, params: Arrays) -> PyTree:
        """The agent's state with what acting reads of it, and nothing else."""
        leaves = [params.get(name) for name, _ in named_leaves(self._state)]
        return jax.tree.unflatten(jax.tree.structure(self._state), leaves)

    @property
    def read_shapes(self) -> PyTree:
        """The shapes of what acting reads of the agent's state, in its structure; None elsewhere."""
        leaves = dict(named_leaves(self._state))
        return self._filled({name: leaves[name] for name in self._read})

    @property
    def statistics(self) -> list[str]:
        """What the parameters call the statistics of the wrappers, the innermost first."""
        kinds = [STATISTICS[type(layer)] for layer in self._layers() if type(layer) in STATISTICS]
        return kinds[::-1]

    def _layers(self) -> list[Wrapper]:
        """The wrappers, the outermost first."""
        layers, layer = [], self._wrappers
        while isinstance(layer, Wrapper):
            layers.append(layer)
            layer = layer.env
        return layers

    def _innermost(self, memory: PyTree) -> Received:
        for layer in self._layers():
            memory = layer.inner_state(memory)
        return memory

    def _memory(self, params: Arrays, carry: Arrays) -> PyTree:
        """The state of the wrappers: what the carry holds of it, and the statistics, which never change."""
        rows = carry["previous_action"].shape[0]
        kinds = iter(self.statistics)
        leaves: list[Any] = []
        for name, leaf in self._memory_leaves:
            match leaf:
                case Received():
                    leaves.append(jax.tree.map(lambda x: jnp.zeros((rows, *x.shape[1:]), x.dtype), leaf))
                case RunningStatistics():
                    kind = next(kinds)
                    statistics = {field: params[f"{kind}.{field}"] for field in STATISTICS_FIELDS}
                    leaves.append(for_all(RunningStatistics(**statistics), rows))
                case _:
                    leaves.append(carry[_join("wrappers", name)])
        return jax.tree.unflatten(self._memory_structure, leaves)

    def _network_carry(self, carry: Arrays) -> Carry:
        template = self._state.worker.carry
        leaves = [carry[_join("network", name)] for name, _ in named_leaves(template)]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def _carry(self, network_carry: Carry, memory: Mapping[str, Any], action: Array) -> Arrays:
        return {
            **{_join("network", name): leaf for name, leaf in named_leaves(network_carry)},
            **{_join("wrappers", name): leaf for name, leaf in memory.items()},
            "previous_action": action,
        }


@dataclass(frozen=True)
class AgentProgram(Program):
    """The program of an agent whose networks are at hand.

    Attributes:
        acting: the pure functions.
    """

    acting: Acting

    def compiled(self, sampling: bool) -> Step:
        return self._compiled

    @functools.cached_property
    def _compiled(self) -> Step:
        return jax.jit(self.acting.step)


def make_program(agent: Agent, interface: Interface, acting: Acting, params: Arrays) -> AgentProgram:
    """The program of an agent.

    Args:
        agent: the agent.
        interface: what lies between its environment and itself.
        acting: how it acts.
        params: what was learned, as `Acting.sources` names it.
    """
    spaces = (interface.observation_space, interface.action_space, policy_space(interface.chosen_space))
    return AgentProgram(*spaces, interface.num_agents, params, acting.first_carry(), acting)


def program_of(agent: Agent, state: PyTree) -> AgentProgram:
    """The program of an agent in Python.

    Args:
        agent: the agent.
        state: its state, of one seed.
    """
    interface = describe_interface(agent.env, agent.env_params)
    acting = Acting(agent, interface)
    arrays = dict(named_leaves(state))
    return make_program(agent, interface, acting, take_params(acting, arrays))


def take_params(acting: Acting, arrays: Mapping[str, Any]) -> Arrays:
    """The parameters of a policy, of arrays of the agent's state by name."""
    params = {}
    for name, source in acting.sources(arrays).items():
        # Every environment of the batch has a copy of the statistics.
        params[name] = jnp.asarray(arrays[source] if name == source else arrays[source][0])
    return params


def require_same_agent(acting: Acting, arrays: Mapping[str, Any], folder: Path) -> None:
    """Check that a run's agent has the shapes of the one that acts.

    Args:
        acting: how that one acts.
        arrays: what it takes of the state of the run's agent, by name.
        folder: that of the run.

    Raises:
        ValueError: if names, shapes or types of what it takes are other ones.
    """
    wanted = acting.read_shapes
    sources = acting.sources(arrays)
    missing = [kind for kind in acting.statistics if f"{kind}.mean" not in sources]
    missing += [source for source in sources.values() if source not in arrays]
    if missing:
        raise ValueError(f"{folder} was saved by another agent: it holds no {missing[0]}, which this one takes")
    names = {name for name, _ in named_leaves(wanted)}
    from_arrays(wanted, {name: array for name, array in arrays.items() if name in names}, folder)


def _is_shared(leaf: Any) -> bool:
    """Whether a part of the wrappers' state is the same at each step, or of no use after it."""
    return isinstance(leaf, RunningStatistics | Received)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if name else prefix
