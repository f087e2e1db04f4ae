"""Repeats the previous action at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.environments.environment import Environment
from memorax.environments.wrappers.arguments import require_probability
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree, where


class StickyActions(Transform):
    """Take the previous action again with some probability, instead of the one that is chosen.

    The previous action is the one that was taken, chosen or not; an episode's first action is always the chosen one.

    Source: Machado et al., "Revisiting the Arcade Learning Environment", 2018, section 5, with probability 0.25.

    Args:
        env: the environment.
        probability: probability that the previous action is repeated.

    Raises:
        ValueError: if `probability` does not lie between 0 and 1.
    """

    def __init__(self, env: Environment, probability: float) -> None:
        super().__init__(env)
        self.probability = require_probability("sticky_actions", probability)

    def begin(self, key: Key, observation: PyTree, params: PyTree) -> tuple[PyTree, tuple[Array, PyTree]]:
        action = jax.eval_shape(self.action_space(params).sample, key)
        return observation, (jnp.zeros((), bool), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), action))

    def act(
        self, key: Key, memory: tuple[Array, PyTree], action: PyTree, params: PyTree
    ) -> tuple[PyTree, tuple[Array, PyTree]]:
        moved, previous = memory
        action = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), action, previous)
        taken = where(moved & jax.random.bernoulli(key, self.probability), previous, action)
        return taken, (jnp.ones((), bool), taken)
