"""Values along a rollout and of what each step led to, exact at time limits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from memorax.learning.returns import generalized_advantage_estimate
from memorax.networks.network import Network, encode_with_losses, unroll
from memorax.types import Array, Carry, PyTree, Timestep, Trajectory, where

Evaluate = Callable[[PyTree, Timestep, Carry], tuple[Carry, Any]]
"""`(params, timesteps [B, T, ...], carry) -> (carry, values [B, T, ...])`."""


def values_along(
    evaluate: Evaluate, params: PyTree, trajectory: Trajectory, carry: Carry, sequence_length: int
) -> tuple[Carry, Carry, Array, Array]:
    """Evaluate a rollout in sequence passes; differentiable but for the values at time limits, which are constants.

    Args:
        evaluate: runs the network.
        params: variables of the network.
        trajectory: the rollout, `[B, T, ...]`.
        carry: the network's carry before the first step.
        sequence_length: the carry is returned before every `sequence_length`-th step; divides `T`.

    Returns:
        `(carry, carries, values, next_values)`: the carry after the last step; the carries `[B, C, ...]` before each of
        the `C = T / sequence_length` sequences; the values of the timesteps, `[B, T, ...]`; and of each step's
        successor. The successor is the final observation where the step was truncated, seen with the carry as it
        was before the reset, and the next timestep elsewhere (a new episode's, where the step terminated).
    """
    run = functools.partial(evaluate, params)
    final_carry, carries, values = _values_of_sequences(run, trajectory.timesteps, carry, sequence_length)
    next_timestep = jax.tree.map(lambda x: x[:, None], trajectory.next_timestep)
    _, last_value = run(next_timestep, final_carry)
    next_values = jax.tree.map(lambda v, last: jnp.concatenate([v[:, 1:], last], axis=1), values, last_value)
    # The loop over time limits cannot be differentiated in reverse: nothing in it may depend on what is differentiated.
    constants = jax.lax.stop_gradient((params, trajectory, carry, next_values))
    at_limits = _values_at_time_limits(evaluate, *constants)
    return final_carry, carries, values, where(trajectory.truncated, at_limits, next_values)


def values_of(network: Network) -> Evaluate:
    """A state-value network's values, as `values_along` takes them."""

    def evaluate(params: PyTree, timesteps: Timestep, carry: Carry) -> tuple[Carry, Array]:
        carry, output = unroll(network, params, timesteps, carry)
        return carry, network.head.value(output)

    return evaluate


def ends_of_returns(trajectory: Trajectory, gamma: Array | float) -> tuple[Array, Array]:
    """Where the returns of a rollout end and where they are cut, as `memorax.learning.returns` takes it.

    The return of an agent also ends where it goes out (see `Trajectory.ended`).

    Returns:
        `(discounts, done)`: zero where the return ended and gamma elsewhere, and whether it ended or was cut off,
        `[B, T]`.
    """
    return gamma * (1.0 - trajectory.ended), trajectory.ended | trajectory.truncated


def advantages_along(
    network: Network,
    params: PyTree,
    trajectory: Trajectory,
    carry: Carry,
    sequence_length: int,
    gamma: Array | float,
    lambda_: Array | float,
) -> tuple[Carry, Carry, Array, Array]:
    """Generalised advantage estimates of a rollout, exact at time limits and where an agent goes out.

    The return of an agent that goes out ends with the step in which it does, and its advantage is zero from then on.

    Args:
        network: a state-value network.
        params: variables of the network.
        trajectory: the rollout, `[B, T, ...]`.
        carry: the network's carry before the first step.
        sequence_length: steps of a sequence, as in `values_along`.
        gamma: discount.
        lambda_: weight between one-step (0) and Monte Carlo (1) advantages.

    Returns:
        `(carry, carries, values, advantages)`, the first three as in `values_along`, the last `[B, T]`.
    """
    carry, carries, values, next_values = values_along(values_of(network), params, trajectory, carry, sequence_length)
    discounts, ends = ends_of_returns(trajectory, gamma)
    advantages = jax.vmap(generalized_advantage_estimate, in_axes=(0, 0, 0, 0, 0, None))(
        trajectory.reward, values, next_values, discounts, ends, lambda_
    )
    if trajectory.active is not None:
        advantages = jnp.where(trajectory.active, advantages, 0.0)
    return carry, carries, values, advantages


def carries_along(
    network: Network, params: PyTree, timesteps: Timestep, carry: Carry, sequence_length: int
) -> tuple[Carry, Carry]:
    """The carries that a rollout records of the network that acts, for one that does not.

    Args:
        network: the network.
        params: its variables.
        timesteps: those of the rollout, `[B, T, ...]`.
        carry: the network's carry before the first step.
        sequence_length: the carry is returned before every `sequence_length`-th step; divides `T`.

    Returns:
        `(carry, carries)`: the carry after the last step, and the carries `[B, T / sequence_length, ...]`.
    """

    def encode(timesteps: Timestep, carry: Carry) -> tuple[Carry, Array]:
        return encode_with_losses(network, params, timesteps, carry)[:2]

    return _values_of_sequences(encode, timesteps, carry, sequence_length)[:2]


def _values_of_sequences(
    evaluate: Callable[[Timestep, Carry], tuple[Carry, Any]], timesteps: Timestep, carry: Carry, sequence_length: int
) -> tuple[Carry, Carry, Array]:
    """`(final carry, carries [B, C, ...], values [B, T, ...])`."""
    num_steps = timesteps.done.shape[1]
    if num_steps == sequence_length or not jax.tree.leaves(carry):
        final_carry, values = evaluate(timesteps, carry)
        return final_carry, jax.tree.map(lambda x: x[:, None], carry), values

    def sequence(carry: Carry, timesteps: Timestep) -> tuple[Carry, tuple[Carry, Array]]:
        after, values = evaluate(timesteps, carry)
        return after, (carry, values)

    def split(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(x.shape[0], x.shape[1] // sequence_length, sequence_length, *x.shape[2:]), 1, 0)

    final_carry, (carries, values) = jax.lax.scan(sequence, carry, jax.tree.map(split, timesteps))
    carries, values = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), (carries, values))
    return final_carry, carries, jax.tree.map(lambda x: x.reshape(x.shape[0], num_steps, *x.shape[3:]), values)


def _values_at_time_limits(
    evaluate: Evaluate, params: PyTree, trajectory: Trajectory, carry: Carry, next_values: PyTree
) -> PyTree:
    """Replace `next_values` where a step was truncated by the value of its final observation.

    Final observations are spliced into the sequence right after the step that led to them; the reset that follows
    wipes what they leave in the carry. A pass has room for a few per environment, and passes are made until every one
    is served: none where nothing was truncated.
    """
    truncated = trajectory.truncated
    batch_size, num_steps = truncated.shape
    room = max(1, num_steps // 8)
    number = jnp.cumsum(truncated, axis=1)  # (B, T), counted from one
    rows = jnp.arange(batch_size)[:, None]
    time = jnp.broadcast_to(jnp.arange(num_steps, dtype=jnp.int32)[None], truncated.shape)
    finals = Timestep(trajectory.final_observation, trajectory.action, trajectory.reward, jnp.zeros_like(truncated))

    def one_pass(state: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
        served, next_values = state
        spliced = truncated & (number > served) & (number <= served + room)
        position = time + jnp.cumsum(spliced, axis=1) - spliced  # of each timestep in the spliced sequence
        final_position = jnp.where(spliced, position + 1, num_steps + room)  # beyond the end: dropped
        source = jnp.zeros((batch_size, num_steps + room), jnp.int32)
        source = source.at[rows, position].set(time).at[rows, final_position].set(time, mode="drop")
        is_final = jnp.zeros(source.shape, bool).at[rows, final_position].set(True, mode="drop")
        take = lambda tree: jax.tree.map(lambda x: x[rows, source], tree)  # noqa: E731
        _, values = evaluate(params, where(is_final, take(finals), take(trajectory.timesteps)), carry)
        after = jax.tree.map(lambda v: v[rows, jnp.minimum(position + 1, num_steps + room - 1)], values)
        return served + room, where(spliced, after, next_values)

    last = jnp.max(number)
    _, next_values = jax.lax.while_loop(
        lambda state: state[0] < last, one_pass, (jnp.zeros((), number.dtype), next_values)
    )
    return next_values
