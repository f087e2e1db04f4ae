"""Gradient steps and target networks."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from memorax.types import Array, Metrics, PyTree, where


def gradient_step(
    loss_fn: Callable[[PyTree], tuple[Array, Metrics]],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    optimizer_state: optax.OptState,
) -> tuple[PyTree, optax.OptState, Metrics]:
    """Descend the gradient of a loss once, unless the gradient is not finite.

    Args:
        loss_fn: `params -> (loss, metrics)`.
        params: what to differentiate by.
        optimizer: turns gradients into updates.
        optimizer_state: its state.

    Returns:
        `(params, optimizer_state, metrics)`. Where any element of the gradient is NaN or infinite, or its norm
        overflows, parameters and optimiser state are returned as they came. The metrics are those of the loss, `loss`,
        `gradient_norm` (of all parameters together, before the optimiser clips it) and `skipped_updates` (1 if this
        one was skipped, else 0).
    """
    (loss, metrics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
    gradient_norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(gradient_norm)
    updates, new_optimizer_state = optimizer.update(gradients, optimizer_state, params)
    stepped = (optax.apply_updates(params, updates), new_optimizer_state)
    params, optimizer_state = where(finite, stepped, (params, optimizer_state))
    own_metrics = {"loss": loss, "gradient_norm": gradient_norm, "skipped_updates": 1.0 - finite}
    return params, optimizer_state, {**metrics, **own_metrics}


def target_update(
    params: PyTree, target_params: PyTree, num_updates: Array | int, period: int = 1, tau: Array | float = 1.0
) -> PyTree:
    """Move a target network's parameters towards the network's, on every `period`-th update.

    `period=1` with a small `tau` is the moving average of Lillicrap et al. (2016, DDPG, algorithm 1); `tau=1` with a
    long `period` is the periodic copy of Mnih et al. (2015, DQN, algorithm 1).

    Args:
        params: the network's parameters after the update.
        target_params: the target network's.
        num_updates: how many updates have been made, this one included: updates, not environment steps.
        period: updates between two moves.
        tau: how far to move, from 0 (not at all) to 1 (a copy).

    Returns:
        The target network's new parameters.
    """
    due = jnp.asarray(num_updates % period == 0)
    return where(due, optax.incremental_update(params, target_params, tau), target_params)
