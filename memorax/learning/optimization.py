"""Gradient steps and target networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.flatten_util import ravel_pytree

from memorax.types import Array, Metrics, PyTree, where
from memorax.validation import LARGEST_COUNT

LossFunction = Callable[[PyTree], tuple[Array, tuple[Metrics, Any]]]
"""`variables -> (loss, (scalar metrics, anything else the caller wants back))`."""


class Learner(struct.PyTreeNode):
    """A network's variables and the state of the optimizer that trains them.

    Attributes:
        params: the collection that is trained, `{"params": ...}`.
        constants: every other collection of the network; never trained.
        optimizer_state: the optimizer's state, for `params`.
    """

    params: PyTree
    constants: PyTree
    optimizer_state: optax.OptState

    @property
    def variables(self) -> PyTree:
        """All collections together, as `Network.apply` takes them."""
        return {**self.constants, **self.params}

    @classmethod
    def create(cls, variables: PyTree, optimizer: optax.GradientTransformation) -> Learner:
        """Start training a network.

        Args:
            variables: what the network's `init` returned: `{"params": ..., other collections}`.
            optimizer: turns gradients into updates.

        Raises:
            ValueError: if `optimizer` is no optimizer of Optax.
        """
        if not isinstance(optimizer, optax.GradientTransformation | optax.MultiSteps):
            raise ValueError(f"optimizer ({optimizer!r}) must be one of Optax, such as optax.adam(1e-3)")
        constants = dict(variables)
        params = {"params": constants.pop("params", {})}
        return cls(params, constants, optimizer.init(params))


def gradient_step(
    loss_fn: LossFunction,
    learner: Learner,
    optimizer: optax.GradientTransformation,
    prefix: str = "",
    **extra: Any,
) -> tuple[Learner, Metrics, Any]:
    """Descend the gradient of a loss once, unless the gradient is not finite.

    Args:
        loss_fn: `variables -> (loss, (metrics, auxiliary))`.
        learner: the learner by whose parameters the loss is differentiated.
        optimizer: turns gradients into updates.
        prefix: prefix of the names of the metrics.
        **extra: arguments of an `optax.GradientTransformationExtraArgs` besides gradients, such as `step`.

    Returns:
        `(learner, metrics, auxiliary)`. The metrics are those of the loss, `<prefix>loss` and those of
        `apply_gradients`.
    """

    def loss_of(params: PyTree) -> tuple[Array, tuple[Metrics, Any]]:
        return loss_fn({**learner.constants, **params})

    (loss, (metrics, auxiliary)), gradients = jax.value_and_grad(loss_of, has_aux=True)(learner.params)
    learner, own_metrics = apply_gradients(gradients, learner, optimizer, prefix, **extra)
    return learner, {**metrics, f"{prefix}loss": loss, **own_metrics}, auxiliary


def joint_gradient_step(
    loss_fn: Callable[[dict[str, PyTree]], tuple[dict[str, Array], tuple[Metrics, Any]]],
    learners: dict[str, Learner],
    optimizers: dict[str, optax.GradientTransformation],
    **extra: Any,
) -> tuple[dict[str, Learner], Metrics, Any]:
    """`gradient_step` for several learners whose losses share what is computed for them.

    Args:
        loss_fn: given the variables of each learner by its name, `(losses, (metrics, auxiliary))` with a loss for each
            name. The gradient that is descended is that of their sum, so that each loss must depend on the parameters
            of its own learner alone: stop the gradients by all others.
        learners: whose parameters to differentiate by.
        optimizers: for each name, what turns gradients into updates.
        **extra: as in `gradient_step`.

    Returns:
        `(learners, metrics, auxiliary)`, the metrics as `gradient_step` has them, prefixed with the learner's name. A
        gradient that is not finite leaves its own learner as it was.
    """

    def loss_of(params: dict[str, PyTree]) -> tuple[Array, tuple[dict[str, Array], tuple[Metrics, Any]]]:
        losses, rest = loss_fn({name: {**learners[name].constants, **params[name]} for name in params})
        return sum(losses.values(), jnp.zeros(())), (losses, rest)

    params = {name: learner.params for name, learner in learners.items()}
    gradients, (losses, (metrics, auxiliary)) = jax.grad(loss_of, has_aux=True)(params)
    metrics = {**metrics, **{f"{name}_loss": loss for name, loss in losses.items()}}
    stepped = {}
    for name, learner in learners.items():
        stepped[name], own = apply_gradients(gradients[name], learner, optimizers[name], f"{name}_", **extra)
        metrics |= own
    return stepped, metrics, auxiliary


def apply_gradients(
    gradients: PyTree,
    learner: Learner,
    optimizer: optax.GradientTransformation,
    prefix: str = "",
    **extra: Any,
) -> tuple[Learner, Metrics]:
    """Let an optimizer take one step along gradients, unless they are not finite.

    Args:
        gradients: gradients by `learner.params`, of the same structure.
        learner: the learner to change.
        optimizer: turns gradients into updates.
        prefix: prefix of the names of the metrics.
        **extra: arguments of an `optax.GradientTransformationExtraArgs` besides gradients.

    Returns:
        `(learner, metrics)`. Where any element of the gradients is NaN or infinite, or their norm overflows, the
        learner comes back as it was. The metrics are `gradient_norm` (of all parameters together, before the optimizer
        clips it) and `skipped_updates` (1 if this one was skipped, else 0).
    """
    gradient_norm = jnp.linalg.norm(ravel_pytree(gradients)[0])
    finite = jnp.isfinite(gradient_norm)
    extended = optax.with_extra_args_support(optimizer)
    updates, optimizer_state = extended.update(gradients, learner.optimizer_state, learner.params, **extra)
    stepped = (optax.apply_updates(learner.params, updates), optimizer_state)
    params, optimizer_state = where(finite, stepped, (learner.params, learner.optimizer_state))
    metrics = {f"{prefix}gradient_norm": gradient_norm, f"{prefix}skipped_updates": 1.0 - finite}
    return learner.replace(params=params, optimizer_state=optimizer_state), metrics


def linear_decay(total_steps: int) -> optax.GradientTransformationExtraArgs:
    """Scale updates down linearly, to nothing after `total_steps` environment steps.

    Put it behind an optimizer: `optax.chain(optax.adam(1e-3), linear_decay(1_000_000))`. It follows the environment
    steps that were taken before the rollout learned from, and not the updates made: epochs that are cut short, updates
    that are skipped and calls of `train` that go on from each other do not change it. A run that is made longer goes on
    at a rate of zero, unless the optimizer is made for the new length.

    Args:
        total_steps: environment steps of the whole run, over all environments.

    Raises:
        ValueError: if `total_steps` is not positive, or above what is counted.
    """
    if not 1 <= total_steps <= LARGEST_COUNT:
        raise ValueError(
            f"total_steps ({total_steps}) of a learning rate that falls must lie between 1 and {LARGEST_COUNT}: "
            "it counts environment steps, in 32 bits"
        )

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        step: Array,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        left = jnp.maximum(1.0 - step / total_steps, 0.0)
        return jax.tree.map(lambda u: (left * u).astype(u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def target_update(
    params: PyTree, target_params: PyTree, num_updates: Array | int, period: int = 1, tau: Array | float = 1.0
) -> PyTree:
    """Move a target network's parameters towards the network's, on every `period`-th update.

    `period=1` with a small `tau` is the moving average of Lillicrap et al. (2016, DDPG, algorithm 1); `tau=1` with a
    long `period` is the periodic copy of Mnih et al. (2015, DQN, algorithm 1).

    Args:
        params: the network's parameters after the update.
        target_params: the target network's.
        num_updates: number of updates made, this one included: updates, not environment steps.
        period: updates between two moves.
        tau: fraction of the way to move, from 0 (not at all) to 1 (a copy).

    Returns:
        The target network's new parameters. What is the same in both, as constants are, stays exactly as it is.
    """
    due = jnp.asarray(num_updates % period == 0)

    def move(new: Array, old: Array) -> Array:
        return jnp.where(due & (new != old), tau * new + (1.0 - tau) * old, old).astype(old.dtype)

    return jax.tree.map(move, params, target_params)
