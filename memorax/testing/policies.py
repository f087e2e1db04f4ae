"""The check of how an agent acts: greedily or not, row by row, and only as is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.environments.spaces import Discrete, MultiDiscrete, Space, policy_space
from memorax.learning.exploration import random_actions
from memorax.networks.network import action_mask
from memorax.testing.assertions import require
from memorax.types import Array, PyTree

NUM_KEYS = 64
"""Random keys with which an agent acts from one state: chance has it seldom that a choice of two is always the same."""

Act = Callable[[Any], tuple[PyTree, PyTree, PyTree]]
"""The actions from a state with each key, leaves `[K, B, ...]`: greedy ones, those of training, and random ones."""


def check_policies(agent: Algorithm, key: Array, first: PyTree, ready: PyTree) -> None:
    """In evaluation an agent acts greedily, and in training it explores, each row by itself; both do what is allowed.

    Args:
        agent: the agent.
        key: random key.
        first: its state before the first step.
        ready: its state once it has learned something, of the same shapes and types.
    """
    act = _act(agent, key)
    for state in (first, ready):
        greedy, training, random = act(state)
        require(_alike(greedy), "evaluation is greedy: from one state, actions differ with the random key")
        for name, actions in (("evaluation", greedy), ("training", training)):
            require(
                _allowed(actions, state.worker.timestep.observation, agent.env.action_space(agent.env_params)),
                f"actions are those that are allowed: in {name}, one is chosen that its action_mask forbids",
            )
        if state is first:
            require(
                _alike(random) or not _alike(training),
                f"training explores: from one state, actions are the same with each of {NUM_KEYS} random keys",
            )
    _check_rows(act, first)


def _check_rows(act: Act, state: PyTree) -> None:
    """Rows that see and remember the same draw their actions each by itself."""
    worker = state.worker
    timestep, carry = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), (worker.timestep, worker.carry))
    _, training, random = act(state.replace(worker=worker.replace(timestep=timestep, carry=carry)))

    def rows_differ(actions: PyTree) -> bool:
        return any(bool((x != x[:, :1]).any()) for x in jax.tree.leaves(actions))

    require(
        rows_differ(training) or not rows_differ(random) or _alike(training),
        "each row draws its own actions: where all rows see the same, they act alike with each of "
        f"{NUM_KEYS} random keys",
    )


def _act(agent: Algorithm, key: Array) -> Act:
    space = policy_space(agent.env.action_space(agent.env_params))
    batch_size = agent.cfg.num_envs * agent.env.num_agents
    keys = jax.random.split(key, NUM_KEYS)

    @jax.jit
    def act(state: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        timestep, carry = state.worker.timestep, state.worker.carry
        greedy, training = (agent.policy(state, deterministic) for deterministic in (True, False))
        return (
            jax.vmap(lambda key: greedy(key, timestep, carry)[1])(keys),
            jax.vmap(lambda key: training(key, timestep, carry)[1])(keys),
            jax.vmap(lambda key: random_actions(key, space, timestep.observation, batch_size))(keys),
        )

    def as_numbers(state: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        actions: tuple[PyTree, PyTree, PyTree] = jax.tree.map(np.asarray, act(state))
        return actions

    return as_numbers


def _alike(actions: PyTree) -> bool:
    """Whether actions are the same with each key."""
    return all(bool((x == x[:1]).all()) for x in jax.tree.leaves(actions))


def _allowed(actions: PyTree, observation: PyTree, space: Space) -> bool:
    """Whether every action `[K, B, ...]` is one that the masks `[B, A]` of observations allow."""
    mask = action_mask(observation)
    if mask is None or not isinstance(space, Discrete | MultiDiscrete):
        return True
    sizes = (space.n,) if isinstance(space, Discrete) else tuple(np.ravel(space.nvec))
    choices = np.reshape(actions, (*np.shape(actions)[:2], len(sizes)))  # (K, B, choices)
    parts = np.split(np.asarray(mask), np.cumsum(sizes)[:-1], axis=-1)
    rows = np.arange(len(parts[0]))
    # A choice of which nothing is legal is free.
    legal = [part[rows, choices[..., i]] | ~part[rows].any(axis=-1) for i, part in enumerate(parts)]  # each (K, B)
    return bool(np.all(legal))
