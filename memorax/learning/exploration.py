"""How to act other than as learned."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from memorax.environments.spaces import Space
from memorax.types import Array, Key, PyTree


def epsilon_greedy(key: Key, q_values: Array, epsilon: Array | float) -> Array:
    """The action of highest value, or, with probability `epsilon`, any action.

    Args:
        key: random key.
        q_values: action values `[..., A]`.
        epsilon: a scalar, or one for each of the leading axes, `[...]`.

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
    explore_key, action_key = jax.random.split(key)
    explore = jax.random.uniform(explore_key, batch_shape) < epsilon
    random_action = jax.random.randint(action_key, batch_shape, 0, q_values.shape[-1])
    return jnp.where(explore, random_action, jnp.argmax(q_values, axis=-1).astype(jnp.int32))


def uniform(key: Key, space: Space, batch_shape: tuple[int, ...]) -> PyTree:
    """Elements of `space` drawn independently and uniformly, leaves `[*batch_shape, ...]`."""
    keys = jax.random.split(key, math.prod(batch_shape))
    samples = jax.vmap(space.sample)(keys)
    return jax.tree.map(lambda x: x.reshape(*batch_shape, *x.shape[1:]), samples)
