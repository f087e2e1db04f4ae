"""A network for each agent: the same layers with parameters of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.networks.network import Network
from memorax.types import Array, Carry, PyTree

AGENT_ID = "agent_id"
"""The part of a dictionary observation that says which agent observes it, a one-hot vector."""

AXES: Mapping[Any, Any] = {"params": 0, "losses": 0}
"""Which axis is that of agents, by the collection of variables."""


class PerAgentNetwork(Network):
    """A `Network` whose agents share none of its parameters, in the place of one whose agents share them all.

    Which parameters a row uses is told by its observation's `agent_id` (`make(id, agent_id=True)`) and by nothing else:
    rows may be shuffled, cut into sequences and sampled from a replay buffer. Every leaf of the parameters has a
    leading axis of agents. All networks are computed for all rows and the row's own is selected, so a network costs as
    much as `num_agents` of its kind.

    What a module sows into `losses`, as `MoE` does, is of all rows likewise: the load of each agent's experts is
    balanced over what any agent observes, not over its own rows alone, and the losses of all agents are added up.

    Attributes:
        num_agents: number of agents that act in an environment.
    """

    num_agents: int = 1

    def encode(
        self, observation: PyTree, action: PyTree, reward: Array, done: Array, initial_carry: Carry
    ) -> tuple[Carry, Array]:
        agent = self._agent(observation)
        carry, features = self._of_each_agent(
            lambda network: Network.encode(network, observation, action, reward, done, initial_carry)
        )
        return _own(carry, agent[:, -1]), _own(features, agent)

    def apply_head(self, features: Array, observation: PyTree, *head_inputs: Any) -> Any:
        agent = self._agent(observation)
        output = self._of_each_agent(lambda network: Network.apply_head(network, features, observation, *head_inputs))
        return _own(output, agent)

    def _of_each_agent(self, run: Callable[[Network], PyTree]) -> PyTree:
        """What `run` returns with the parameters of each agent, leaves `[num_agents, ...]`."""
        if self.is_initializing():
            # One agent after the other: on few cores batched QR decompositions, which orthogonal initialisers make,
            # wait for each other for ever.
            def once(network: Network, carry: tuple[()], _: None) -> tuple[tuple[()], PyTree]:
                return carry, run(network)

            of_each = nn.scan(once, AXES, split_rngs={"params": True}, length=self.num_agents)
            return of_each(self, (), None)[1]
        return nn.vmap(run, variable_axes=AXES, split_rngs={"params": True}, axis_size=self.num_agents)(self)

    def _agent(self, observation: PyTree) -> Array:
        """The number of the agent that observes each step, int32 `[B, T]`."""
        if not isinstance(observation, Mapping) or AGENT_ID not in observation:
            raise ValueError(
                "PerAgentNetwork needs to see which agent observes: make the environment with agent_id=True"
            )
        agent_id = observation[AGENT_ID]
        if agent_id.shape[-1] != self.num_agents:
            raise ValueError(
                f"num_agents ({self.num_agents}) of PerAgentNetwork must be that of the environment, "
                f"{agent_id.shape[-1]}"
            )
        return jnp.argmax(agent_id, axis=-1)


def _own(tree: PyTree, agent: Array) -> PyTree:
    """Of leaves `[num_agents, *agent.shape, ...]` those of the agent of each row, `[*agent.shape, ...]`."""

    def select(leaf: Array) -> Array:
        index = jnp.expand_dims(agent, (0, *range(agent.ndim + 1, leaf.ndim)))
        return jnp.take_along_axis(leaf, index, axis=0)[0]

    return jax.tree.map(select, tree)
