"""Q-learning from replayed sequences, for any value head and any memory."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from memorax.buffers import ReplayBatch
from memorax.learning.losses import masked_mean, signed_hyperbolic, signed_parabolic
from memorax.learning.replay import known_successors, n_step_targets, steps_that_count
from memorax.networks.network import Network, unroll, unroll_with_losses
from memorax.types import Array, Metrics, PyTree


class QErrors(NamedTuple):
    """How wrong action values are: leaves `[N, L]` for the `L` steps after the burn-in, the last timestep left out.

    Attributes:
        loss: loss that the head minimises.
        td_error: target minus value (both rescaled, where targets are).
        known: whether the step has a target; the other two mean nothing elsewhere.
        value: value of the actions taken.
    """

    loss: Array
    td_error: Array
    known: Array
    value: Array


def q_errors(
    network: Network,
    params: PyTree,
    target_params: PyTree,
    batch: ReplayBatch,
    gamma: Array | float,
    burn_in: int = 0,
    n_steps: int = 1,
    double: bool = True,
    rescale: bool = False,
) -> tuple[QErrors, Metrics]:
    """Compare action values with n-step targets from a target network.

    The action that is bootstrapped from is the best according to the online network (double Q-learning; van Hasselt et
    al., 2016) or the target network. Targets never reach over the end of an episode or a time limit.

    Args:
        network: an action-value network.
        params: variables of the network.
        target_params: variables of the target network.
        batch: windows of `ReplayedSteps`, leaves `[N, burn_in + L + 1, ...]`; the last timestep is only a successor.
        gamma: discount.
        burn_in: steps at the head of a window that only rebuild the carry, of both networks.
        n_steps: rewards in a target.
        double: choose the successor's action with the online network.
        rescale: learn `h(value)` with `h` of `signed_hyperbolic`: the target is `h(rewards + discount h^-1(value))`
            (Kapturowski et al., 2019, section 2.3).

    Returns:
        The errors, and what the network's modules have sown (see `unroll_with_losses`).
    """
    head, steps, carry = network.head, batch.steps, batch.carry
    _, output, losses = unroll_with_losses(network, params, steps.timesteps, carry, burn_in)  # [N, L + 1, A, ...]
    _, target_output = unroll(network, target_params, steps.timesteps, carry, burn_in)
    # What the episodes and the window let each step be compared with.
    timesteps = jax.tree.map(lambda x: x[:, burn_in:], steps.timesteps)
    action, reward, terminated = jax.tree.map(
        lambda x: x[:, burn_in:-1], (steps.action, steps.reward, steps.terminated)
    )
    known = known_successors(timesteps, terminated, steps_that_count(batch)[:, burn_in:])
    targets = jax.vmap(n_step_targets, in_axes=(0, 0, 0, None, None))(reward, terminated, known, gamma, n_steps)
    # The target network's word on the best action of the timestep that is bootstrapped from.
    best = jnp.argmax(head.value(output if double else target_output), axis=-1)  # (N, L + 1)
    successor = jax.tree.map(
        lambda x: jax.vmap(lambda row, index: row[index])(x, targets.successor), head.select(target_output, best)
    )
    taken = head.select(jax.tree.map(lambda x: x[:, :-1], output), action)
    value, next_value = head.value(taken), head.value(successor)
    if rescale:
        next_value = signed_parabolic(next_value)
    goal = targets.reward + jnp.where(targets.discount == 0, 0.0, targets.discount * next_value)
    if rescale:
        goal = jax.lax.stop_gradient(signed_hyperbolic(goal))
        loss = head.loss(taken, goal)
    else:
        loss = head.td_loss(taken, successor, targets.reward, targets.discount)
    return QErrors(loss, jax.lax.stop_gradient(goal - value), targets.known, value), losses


def q_metrics(errors: QErrors) -> Metrics:
    """Metrics of action values: their mean, the mean absolute TD error, and the share of steps that have a target."""
    return {
        "q_value": masked_mean(errors.value, errors.known),
        "td_error": masked_mean(jnp.abs(errors.td_error), errors.known),
        "known_targets": errors.known.mean(),
    }
