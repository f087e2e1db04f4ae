"""Learning from replayed sequences: what is stored, which steps can be learned from, and the loop of updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from memorax.buffers import ReplayBatch
from memorax.networks.network import Network
from memorax.types import Array, Carry, Key, Metrics, PyTree, Timestep, Trajectory

State = TypeVar("State")


class ReplayedSteps(struct.PyTreeNode):
    """What a buffer keeps of a rollout: leaves `[B, T, ...]`.

    Attributes:
        timesteps: exactly what the policy's network saw.
        action: the action taken.
        reward: the reward that followed.
        terminated: whether the return ended with the step.
        active: whether the step counts: an agent that went out takes no part in those that follow.
    """

    timesteps: Timestep
    action: PyTree
    reward: Array
    terminated: Array
    active: Array

    @classmethod
    def of(cls, trajectory: Trajectory) -> ReplayedSteps:
        """The part of a rollout that is kept."""
        active = jnp.ones_like(trajectory.terminated) if trajectory.active is None else trajectory.active
        return cls(trajectory.timesteps, trajectory.action, trajectory.reward, trajectory.ended, active)

    @classmethod
    def like(cls, timestep: Timestep) -> ReplayedSteps:
        """One step of every environment, `[B, ...]`, with the shapes and types that `of` gives."""
        return cls(timestep, timestep.action, timestep.reward, timestep.done, timestep.done)


def steps_that_count(batch: ReplayBatch) -> Array:
    """Which steps of a batch of `ReplayedSteps` are no padding, and not of agents that went out: bool `[N, W]`."""
    return batch.valid & batch.steps.active


def known_successors(timesteps: Timestep, terminated: Array, valid: Array) -> Array:
    """Which steps lead to a timestep that was stored, or to none because the return ended.

    After a time limit the next timestep in a buffer belongs to another episode, and the final observation was not
    stored: such a step has no target of its own.

    Args:
        timesteps: `[N, L + 1, ...]`.
        terminated: whether the return ended with each of the first `L` steps, `[N, L]`.
        valid: whether a timestep counts (see `steps_that_count`), `[N, L + 1]`.

    Returns:
        bool `[N, L]`.
    """
    return valid[:, :-1] & ((valid[:, 1:] & ~timesteps.done[:, 1:]) | terminated)


class ReplayedTransitions(NamedTuple):
    """The steps of windows that are learned from, and what each led to: leaves `[N, L, ...]`.

    Attributes:
        observation: that was acted upon.
        next_observation: of the timestep that follows in the window.
        action: the action taken.
        reward: the reward that followed.
        terminated: whether the return ended with the step.
        valid: whether the step counts (see `steps_that_count`).
        known: whether the timestep that follows is what the step led to, or nothing is, as the return ended: see
            `known_successors`.
    """

    observation: PyTree
    next_observation: PyTree
    action: PyTree
    reward: Array
    terminated: Array
    valid: Array
    known: Array


def transitions_after(batch: ReplayBatch, burn_in: int) -> ReplayedTransitions:
    """The steps of a batch of `ReplayedSteps` `[N, burn_in + L + 1, ...]` behind the burn-in."""
    steps, valid = jax.tree.map(lambda x: x[:, burn_in:], (batch.steps, steps_that_count(batch)))
    now, successor = (jax.tree.map(lambda x, part=part: x[:, part], steps) for part in (slice(-1), slice(1, None)))
    return ReplayedTransitions(
        observation=now.timesteps.observation,
        next_observation=successor.timesteps.observation,
        action=now.action,
        reward=now.reward,
        terminated=now.terminated,
        valid=valid[:, :-1],
        known=known_successors(steps.timesteps, now.terminated, valid),
    )


def initial_carries(networks: Sequence[Network], timesteps: Timestep) -> tuple[Carry, ...]:
    """The carry of each network at the start of an episode, leaves `[N, ...]`; of `timesteps` only shapes are used."""
    first = jax.tree.map(lambda x: x[:, 0], timesteps)
    return tuple(network.initialize_carry(jax.random.key(0), first) for network in networks)


class NStepTargets(NamedTuple):
    """What the first steps after each step say about its return.

    Attributes:
        reward: discounted sum of the rewards, `[T]`.
        discount: what the value of the successor is multiplied by, zero where the return ended, `[T]`.
        successor: the index of the timestep to bootstrap from, int32 `[T]`, between 1 and `T`.
        known: whether there is a target at all, bool `[T]`.
    """

    reward: Array
    discount: Array
    successor: Array
    known: Array


def n_step_targets(rewards: Array, terminated: Array, known: Array, gamma: Array | float, n: int) -> NStepTargets:
    """Up to `n` rewards of a replayed sequence, and where to bootstrap from (Sutton and Barto, 2018, eq. 7.1).

    Fewer rewards are summed where the episode or the sequence ends before. At a time limit the last observation that is
    known is bootstrapped from, and only the step before the unknown one has no target.

    Args:
        rewards: reward of each step, `[T]`.
        terminated: whether the return ended with the step, `[T]`.
        known: whether the step's successor is known, `[T]` (see `known_successors`).
        gamma: discount.
        n: how many rewards, at least 1.

    Returns:
        The parts of the targets. No reward beyond an end is read, be it NaN.

    Raises:
        ValueError: if `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"n_steps ({n}) must be at least 1: a target sums at least one reward")
    num_steps = rewards.shape[0]
    start = jnp.arange(num_steps)
    total, discount = jnp.zeros_like(rewards), jnp.ones_like(rewards)
    length, goes_on = jnp.zeros_like(start), jnp.ones_like(terminated)
    for i in range(min(n, num_steps)):
        step = jnp.minimum(start + i, num_steps - 1)
        taken = goes_on & (start + i < num_steps) & known[step]
        total = jnp.where(taken, total + discount * rewards[step], total)
        discount = jnp.where(taken, discount * jnp.where(terminated[step], 0.0, gamma), discount)
        length = length + taken
        goes_on = taken & ~terminated[step]
    found = length > 0
    return NStepTargets(total, jnp.where(found, discount, 0.0), start + length, found)


def replayed_updates(
    key: Key,
    state: State,
    ready: Array,
    num_updates: int,
    update: Callable[[State, Key], tuple[State, Metrics]],
) -> tuple[State, Metrics]:
    """Make a number of updates, or none while the buffer is not ready.

    Args:
        key: random key; each update gets one of its own.
        state: state that the updates change. Leave the buffer's storage out of it, or a branch not taken would copy it.
        ready: whether there is something to learn from, a bool scalar.
        num_updates: number of updates.
        update: `(state, key) -> (state, metrics)`.

    Returns:
        `(state, metrics)`: means over the updates, and `updates`, how many were made. Where none was made all other
        metrics are NaN.
    """

    def learn(state: State) -> tuple[State, Metrics]:
        state, metrics = jax.lax.scan(update, state, jax.random.split(key, num_updates))
        return state, {**jax.tree.map(jnp.mean, metrics), "updates": jnp.asarray(num_updates, jnp.float32)}

    def wait(state: State) -> tuple[State, Metrics]:
        shapes = jax.eval_shape(learn, state)[1]
        nothing = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes)
        return state, {**nothing, "updates": jnp.zeros((), jnp.float32)}

    return jax.lax.cond(ready, learn, wait, state)
