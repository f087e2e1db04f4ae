"""Whether an algorithm's networks fit its environment, found out before anything is compiled."""

from __future__ import annotations

import jax

from memorax import rollout as rollouts
from memorax.environments.environment import Environment
from memorax.environments.spaces import policy_space
from memorax.networks.network import Network, initialize, takes_action, unroll_step
from memorax.types import Array, Carry, PyTree, Timestep


def check_networks(networks: dict[str, Network], env: Environment, env_params: PyTree) -> dict[str, Carry]:
    """Check, without computing anything, that networks fit an environment and keep the shape of their carries.

    Returns:
        The shapes of each network's carry for the agents of one environment.

    Raises:
        ValueError: naming the network and what does not fit.
    """
    environments = env.vectorize(1)
    key = jax.random.key(0)

    def first_timestep() -> Timestep:
        return rollouts.first_timestep(environments, env_params, environments.reset(key, env_params)[0])

    space = policy_space(env.action_space(env_params))
    carries = {}
    for name, network in networks.items():
        network.head.check_action_space(space)

        def first_step(network: Network = network) -> tuple[Carry, Carry]:
            timestep = first_timestep()
            params, carry = initialize(network, key, timestep)
            head_inputs = (timestep.action,) if takes_action(network.head) else ()
            return carry, unroll_step(network, params, timestep, carry, head_inputs)[0]

        before, after = jax.eval_shape(first_step)
        if jax.tree.map(_describe, before) != jax.tree.map(_describe, after):
            raise ValueError(
                f"the torso of {name} must keep the shapes and types of its carry, but it starts from "
                f"{jax.tree.map(_describe, before)} and returns {jax.tree.map(_describe, after)}"
            )
        carries[name] = before
    return carries


def _describe(array: Array) -> str:
    return f"{array.dtype}{list(array.shape)}"
