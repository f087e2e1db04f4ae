"""Spreads the agents of a run over devices: the cores of a CPU, GPUs, TPU cores.

Several agents are independent of each other: every device has its own (`jax.shard_map`). A single agent's environments
and minibatches are laid over the devices, and XLA divides its program, which averages gradients over them (`jax.jit`
with shardings).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from memorax.environments.environment import Environment
from memorax.rollout import Worker
from memorax.sharding import ENVIRONMENTS
from memorax.training.processes import gather
from memorax.types import Array, Key, PyTree
from memorax.validation import whole_number

SEEDS = "seeds"
"""The axis of the mesh over which seeds are spread."""


@dataclass(frozen=True)
class Placement:
    """Which devices train which agents of a run: each device has the same number of rows.

    Where the devices do not divide the agents, the last rows repeat the last agent, and are left out of everything that
    leaves the device. A single agent is one row, which all devices share.

    Attributes:
        devices: the devices.
        num_seeds: agents of the run.
    """

    devices: tuple[jax.Device, ...]
    num_seeds: int

    @property
    def rows(self) -> int:
        """Agents that are trained, with the repeated ones."""
        if self.shared:
            return 1
        return math.ceil(self.num_seeds / len(self.devices)) * len(self.devices)

    @property
    def shared(self) -> bool:
        """Whether several devices share one agent: its environments and minibatches are spread over them."""
        return self.num_seeds == 1 and len(self.devices) > 1

    @property
    def context(self) -> AbstractContextManager[Any]:
        """What training is to be traced in, so that it is laid over the devices which share an agent."""
        return jax.set_mesh(self._mesh) if self.shared else contextlib.nullcontext()

    def describe(self) -> str:
        """The number of devices and what they are, such as "2 x cpu"."""
        return f"{len(self.devices)} x {self.devices[0].device_kind}"

    def over_agents(self, program: Callable[..., Any], *shared: int) -> Callable[..., Any]:
        """A function of one agent as one of all rows, of which every device computes its own.

        Args:
            program: function of pytrees.
            shared: positions of arguments that are the same for all agents.

        Returns:
            The function of pytrees with leaves `[rows, ...]`, which returns such.
        """

        def rows(*arguments: Any) -> Any:
            if self._side_by_side:
                axes = [None if i in shared else 0 for i in range(len(arguments))]
                return jax.vmap(program, in_axes=axes)(*arguments)
            own = {i: argument for i, argument in enumerate(arguments) if i not in shared}
            return jax.lax.map(lambda row: program(*(row.get(i, x) for i, x in enumerate(arguments))), own)

        return self._spread(rows, shared)

    def updating_agents(self, program: Callable[..., Any]) -> Callable[..., Any]:
        """As `over_agents`, of a function `(key, state) -> (key, state, kept)` whose states are changed in place."""

        def rows(keys: Key, states: PyTree) -> tuple[Key, PyTree, PyTree]:
            if self._side_by_side:
                return jax.vmap(program)(keys, states)

            def update(agents: tuple[Key, PyTree], row: Array) -> tuple[tuple[Key, PyTree], PyTree]:
                key, state, kept = program(*jax.tree.map(lambda x: x[row], agents))
                return jax.tree.map(lambda x, new: x.at[row].set(new), agents, (key, state)), kept

            if self.shared:
                only = program(*jax.tree.map(lambda x: x[0], (keys, states)))
                keys, states, kept = jax.tree.map(lambda x: x[None], only)
                agents = keys, states
                return *jax.lax.with_sharding_constraint(agents, self._shardings(agents)), kept
            (keys, states), kept = jax.lax.scan(update, (keys, states), jnp.arange(len(keys)))
            return keys, states, kept

        return self._spread(rows, ())

    @property
    def _side_by_side(self) -> bool:
        """Whether a device computes its rows at once.

        A core computes one after the other: that is no slower there, and what an agent learns is the same, bit for bit,
        whichever others it is trained with.
        """
        return self.devices[0].platform != "cpu"

    def _spread(self, rows: Callable[..., Any], shared: Sequence[int]) -> Callable[..., Any]:
        """Every device calls a function with its own rows."""
        if len(self.devices) == 1 or self.shared:
            return rows

        def spread(*arguments: Any) -> Any:
            specs = tuple(PartitionSpec() if i in shared else PartitionSpec(SEEDS) for i in range(len(arguments)))
            # Devices have nothing to say to each other: what varies over them need not be followed.
            mapped = jax.shard_map(
                rows, mesh=self._mesh, in_specs=specs, out_specs=PartitionSpec(SEEDS), check_vma=False
            )
            return mapped(*arguments)

        return spread

    def place(self, tree: PyTree) -> PyTree:
        """Put the agents of a run, leaves `[num_seeds, ...]`, onto their devices as leaves `[rows, ...]`."""
        if len(self.devices) == 1:
            return tree
        rows = np.minimum(np.arange(self.rows), self.num_seeds - 1)
        tree = jax.tree.map(lambda x: x if len(x) == self.rows else x[rows], tree)
        if jax.process_count() == 1:
            return jax.device_put(tree, self._shardings(tree))

        def place(leaf: Array, sharding: NamedSharding) -> Array:
            if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
                return leaf
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                data = place(jax.random.key_data(leaf), sharding)
                return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
            whole = np.asarray(jnp.asarray(leaf))
            return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

        return jax.tree.map(place, tree, self._shardings(tree))

    def fetch(self, tree: PyTree) -> PyTree:
        """Bring leaves `[rows, ...]` of all devices to the host, as `[num_seeds, ...]`."""

        def fetch(leaf: Array) -> Any:
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                data = jnp.asarray(gather(jax.random.key_data(leaf))[: self.num_seeds])
                return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
            return gather(leaf)[: self.num_seeds]

        return jax.tree.map(fetch, tree)

    def without_repeated(self, tree: PyTree) -> PyTree:
        """Leaves `[rows, ...]` as `[num_seeds, ...]`, on the devices."""
        if self.rows == self.num_seeds:
            return tree
        return self.together(tree) if self._on_cores else jax.tree.map(lambda x: x[: self.num_seeds], tree)

    def together(self, tree: PyTree) -> PyTree:
        """Leaves `[rows, ...]` as `[num_seeds, ...]`, which others go on with: on one device, where those are cores.

        An operation on what several cores hold makes them exchange it. Many small ones in a row (`x[0]` for each leaf)
        may leave each core waiting for another one that has no thread left, and XLA ends the process after 40 seconds.
        """
        if not self._on_cores:
            return self.without_repeated(tree)
        # Leaf by leaf: a replay buffer is large, and is on the host once more in between.
        return jax.tree.map(lambda leaf: jax.device_put(self.fetch(leaf), self.devices[0]), tree)

    @property
    def _on_cores(self) -> bool:
        """Whether there are several devices, all of which are cores of this machine's processor."""
        return len(self.devices) > 1 and self.devices[0].platform == "cpu" and jax.process_count() == 1

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (ENVIRONMENTS if self.shared else SEEDS,))

    def _shardings(self, tree: PyTree) -> PyTree:
        """Where leaves `[rows, ...]` lie; of a shared agent, all but its environments on every device."""

        def of_environments(leaf: Array) -> NamedSharding:
            divided = leaf.ndim > 1 and leaf.shape[1] % len(self.devices) == 0
            return NamedSharding(self._mesh, PartitionSpec(None, ENVIRONMENTS) if divided else PartitionSpec())

        def of_node(node: PyTree) -> PyTree:
            if isinstance(node, Worker):
                return jax.tree.map(of_environments, node)
            return NamedSharding(self._mesh, PartitionSpec() if self.shared else PartitionSpec(SEEDS))

        def is_worker(node: PyTree) -> bool:
            return self.shared and isinstance(node, Worker)

        return jax.tree.map(of_node, tree, is_leaf=is_worker)


def make_placement(env: Environment, num_envs: int, num_seeds: int, devices: int | None = None) -> Placement:
    """Choose the devices of a run.

    Args:
        env: the environment of its agents; one on the host is stepped from one device.
        num_envs: environments of each agent.
        num_seeds: agents of the run. No more devices are used than there are agents, nor than finish any earlier: of 4
            devices, 5 agents take 3, with no more than 2 on each.
        devices: number of devices of each process; by default all that JAX has for several agents, and one for a single
            agent.

    Raises:
        ValueError: if there are not so many, or they do not divide the environments of a single agent.
    """
    processes = range(jax.process_count())
    of_process = [[device for device in jax.devices() if device.process_index == process] for process in processes]
    available = min(of_process, key=len)
    devices = None if devices is None else whole_number("devices", devices)
    if devices is not None and not 1 <= devices <= len(available):
        raise ValueError(
            f"devices ({devices}) must lie between 1 and {len(available)}, the devices that JAX has. It can make more "
            "of a CPU's cores if told so before it starts: jax.config.update('jax_num_cpu_devices', number)"
        )
    if env.on_host:
        if devices is not None and devices > 1:
            raise ValueError(f"devices ({devices}) must be 1: {env.name} runs on the host, and is stepped from one")
        return Placement(tuple(available[:1]), num_seeds)
    if num_seeds < len(processes):
        raise ValueError(f"num_seeds ({num_seeds}) must be at least {len(processes)}, a seed for each process")
    if num_seeds == 1:
        count = devices or 1
        if num_envs % count:
            raise ValueError(f"num_envs ({num_envs}) must be divisible by devices ({count}), which share one agent")
        return Placement(tuple(available[:count]), num_seeds)
    most = min(math.ceil(num_seeds / len(processes)), devices or len(available))
    rows_per_device = math.ceil(num_seeds / (most * len(processes)))
    count = math.ceil(num_seeds / (rows_per_device * len(processes)))
    return Placement(tuple(device for own in of_process for device in own[:count]), num_seeds)


def cores_to_devices(devices: int | None = None) -> None:
    """Make a device of each core that this process may use, or as many devices as are asked for.

    JAX reads their number when it starts: later, nothing changes. A number that the user's environment sets stays.
    """
    if "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", devices or usable_cores())


def usable_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
