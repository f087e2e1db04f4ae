"""How algorithms act: epsilon-greedily by action values, or by a policy."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Discrete, MultiDiscrete, Space
from memorax.networks.network import Network, action_mask, unroll_step
from memorax.rollout import Policy
from memorax.types import Array, Carry, Key, PyTree, Timestep


def epsilon_greedy(key: Key, q_values: Array, epsilon: Array | float) -> Array:
    """The action of highest value, or, with probability `epsilon`, any legal action.

    Args:
        key: random key.
        q_values: action values `[..., A]`, minus infinity where an action is not legal.
        epsilon: a scalar, or one for each of the leading axes, `[...]`. Nothing is drawn where it is the number 0.

    Returns:
        Actions `[...]`, int32.

    Raises:
        ValueError: if `epsilon` has neither shape.
    """
    batch_shape = q_values.shape[:-1]
    if jnp.shape(epsilon) not in ((), batch_shape):
        raise ValueError(
            f"epsilon {jnp.shape(epsilon)} must be a scalar or have the shape of the actions, {batch_shape}"
        )
    greedy = jnp.argmax(q_values, axis=-1).astype(jnp.int32)
    if isinstance(epsilon, float | int) and epsilon == 0:
        return greedy
    explore_key, action_key = jax.random.split(key)
    explore = jax.random.uniform(explore_key, batch_shape) < epsilon
    number = jnp.cumsum(~jnp.isneginf(q_values), axis=-1)  # of each legal action, from 1
    chosen = jax.random.randint(action_key, batch_shape, 0, number[..., -1])
    random_action = jnp.argmax(number == chosen[..., None] + 1, axis=-1).astype(jnp.int32)
    return jnp.where(explore, random_action, greedy)


def epsilon_greedy_policy(network: Network, params: PyTree, epsilon: Callable[[int], Array | float]) -> Policy:
    """Act by an action-value network.

    Args:
        network: a network whose head values the actions of a `Discrete` space.
        params: variables of the network.
        epsilon: given the number of rows in the batch, the probability of a random action, a scalar or `[B]`.
    """

    def policy(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, PyTree, PyTree]:
        carry, output = unroll_step(network, params, timestep, carry)
        q_values = network.head.value(output)[:, 0]  # (B, A)
        return carry, epsilon_greedy(key, q_values, epsilon(q_values.shape[0])), {}

    return policy


def stochastic_policy(network: Network, params: PyTree, explore: bool) -> Policy:
    """Act by a policy network, and record the log-probability of each action as `log_prob`.

    Args:
        network: its head returns a distribution over actions.
        params: its variables.
        explore: draw actions from the distribution; otherwise take its mode.
    """

    def policy(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, PyTree, PyTree]:
        carry, distribution = unroll_step(network, params, timestep, carry)
        action = distribution.sample(key) if explore else distribution.mode
        return carry, action[:, 0], {"log_prob": distribution.log_prob(action)[:, 0]}

    return policy


def epsilon_ladder(num_envs: int, base: Array | float = 0.4, exponent: float = 7.0) -> Array:
    """One epsilon for each environment, `base^(1 + exponent i / (num_envs - 1))` (Horgan et al., 2018, section 4.1).

    A single environment has the geometric middle of the ladder.

    Returns:
        `[num_envs]`, falling from `base` to `base^(1 + exponent)`.
    """
    # As an array: the number has no value while a policy is exported for any number of rows.
    count = jnp.asarray(num_envs)
    rung = jnp.where(count > 1, jnp.arange(num_envs) / jnp.maximum(count - 1, 1), 0.5)
    return base ** (1 + exponent * rung)


def random_actions(key: Key, space: Space, observation: PyTree, batch_size: int) -> PyTree:
    """Draw actions uniformly among those that observations allow.

    Args:
        key: random key.
        space: the space of one action.
        observation: observations `[B, ...]`, whose `action_mask`, where there is one, says what is allowed.
        batch_size: `B`.

    Returns:
        Actions `[B, ...]`.
    """
    keys, mask = jax.random.split(key, batch_size), action_mask(observation)
    if mask is None or not isinstance(space, Discrete | MultiDiscrete):
        return jax.vmap(space.sample)(keys)
    sizes = (space.n,) if isinstance(space, Discrete) else tuple(space.nvec)

    def sample(key: Key, mask: Array) -> Array:
        parts = jnp.split(mask, np.cumsum(sizes)[:-1])
        # A choice of which nothing is legal is free.
        logits = [jnp.where(part | ~part.any(), 0.0, -jnp.inf) for part in parts]
        keys = jax.random.split(key, len(parts))
        choices = [jax.random.categorical(k, x) for k, x in zip(keys, logits, strict=True)]
        return jnp.stack(choices).reshape(space.shape).astype(space.dtype)

    return jax.vmap(sample)(keys, mask)
