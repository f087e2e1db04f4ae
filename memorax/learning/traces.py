"""Eligibility traces, and the optimizer that bounds their steps: learning from each step as it happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from memorax.environments.environment import Environment
from memorax.learning.optimization import Learner, apply_gradients
from memorax.types import Array, Metrics, PyTree, Timestep, Trajectory, where

Objective = Callable[[PyTree], tuple[Array, Metrics]]
"""`variables -> (scalar, metrics)`: what a positive TD error raises and a negative one lowers."""


def accumulate(trace: PyTree, gradient: PyTree, decay: Array | float) -> PyTree:
    """The accumulating trace `decay * trace + gradient` (Sutton and Barto, 2018, eq. 12.5).

    Args:
        trace: that of the step before.
        gradient: of the present step's value or log-probability, of the same structure.
        decay: lambda times the discount *into* the present timestep. The discount out of it, which is zero where the
            episode terminates, would keep the last reward from all steps but the last. Where it is 0 the trace before
            is not read, be it NaN.
    """
    return jax.tree.map(lambda e, g: jnp.where(decay == 0, 0.0, decay * e) + g, trace, gradient)


class TracedLearner(struct.PyTreeNode):
    """A network that is trained along an eligibility trace.

    Attributes:
        learner: its variables and its optimizer's state.
        trace: of the shapes of `learner.params`.
    """

    learner: Learner
    trace: PyTree

    @property
    def variables(self) -> PyTree:
        """All collections of the network, as `Network.apply` takes them."""
        return self.learner.variables

    @classmethod
    def create(cls, variables: PyTree, optimizer: optax.GradientTransformation) -> TracedLearner:
        """Start training a network, with a trace of zeros; see `Learner.create`."""
        learner = Learner.create(variables, optimizer)
        return cls(learner, jax.tree.map(jnp.zeros_like, learner.params))


def trace_step(
    objective: Objective,
    traced: TracedLearner,
    decay: Array | float,
    td_error: Array,
    done: Array,
    optimizer: optax.GradientTransformation,
    prefix: str = "",
    **extra: Any,
) -> tuple[TracedLearner, Metrics]:
    """Add the gradient of the present step to a trace, move along it by the TD error, and end it with its episode.

    Args:
        objective: `variables -> (scalar, metrics)`, what is traced.
        traced: what to move.
        decay: as in `accumulate`.
        td_error: scalar.
        done: whether the episode ended with the step, for either reason, scalar.
        optimizer: is given the descent direction `-td_error * trace`, and the TD error as `td_error`.
        prefix: what the names of the metrics of `apply_gradients` start with.
        **extra: what the optimizer takes besides.

    Returns:
        `(traced, metrics)`.
    """
    learner = traced.learner

    def of_params(params: PyTree) -> tuple[Array, Metrics]:
        return objective({**learner.constants, **params})

    gradient, metrics = jax.grad(of_params, has_aux=True)(learner.params)
    # A trace would keep what is not finite for the rest of the episode, and of a task without end for good.
    gradient = where(jnp.isfinite(optax.tree.norm(gradient)), gradient, jax.tree.map(jnp.zeros_like, gradient))
    trace = accumulate(traced.trace, gradient, decay)
    descent = jax.tree.map(lambda e: -td_error * e, trace)
    learner, own_metrics = apply_gradients(descent, learner, optimizer, prefix, td_error=td_error, **extra)
    trace = where(done, jax.tree.map(jnp.zeros_like, trace), trace)
    return TracedLearner(learner, trace), {**metrics, **own_metrics}


def check_single_agent(algorithm: str, env: Environment) -> None:
    """Check that there is one agent to learn from.

    Raises:
        ValueError: if the environment has several.
    """
    if env.num_agents != 1:
        raise ValueError(
            f"{algorithm} learns from the steps of one agent, and {env.name} has {env.num_agents}: use IPPO or MAPPO"
        )


def successor(trajectory: Trajectory) -> Timestep:
    """The timesteps that steps led to, before any reset: leaves `[B, T, ...]`, to be seen with the carry after them."""
    no_start = jnp.zeros_like(trajectory.terminated)
    return Timestep(trajectory.final_observation, trajectory.action, trajectory.reward, no_start)


def temporal_difference(trajectory: Trajectory, value: Array, next_value: Array, gamma: Array | float) -> Array:
    """The TD error `reward + gamma * next_value - value` of the only step of a single environment's rollout.

    Args:
        trajectory: leaves `[1, 1, ...]`.
        value: of the timestep, a scalar.
        next_value: of its `successor`, a scalar; not read where the step terminated.
        gamma: discount.
    """
    reward, terminated = trajectory.reward[0, 0], trajectory.terminated[0, 0]
    return reward + jnp.where(terminated, 0.0, gamma * next_value) - value


def obgd(learning_rate: float = 1.0, kappa: float = 2.0) -> optax.GradientTransformationExtraArgs:
    """Overshooting-bounded gradient descent (Elsayed et al., 2024, "Streaming Deep Reinforcement Learning Finally
    Works", algorithm 3).

    How far a step along the trace `e` moves the error it corrects is estimated from the trace's norm over all
    parameters of the network, and the rate lowered so that it stays `kappa` times below the error itself:

        rate = learning_rate / max(1, learning_rate * kappa * max(|td_error|, 1) * |e|_1)

    Args:
        learning_rate: rate where the limit does not apply.
        kappa: how far below the limit to stay; the paper has 2 for values and 3 for policies.

    Returns:
        An optimizer that has to be given the `td_error` besides the descent direction `-td_error * e`.

    Raises:
        ValueError: if either argument is not positive.
    """
    for name, value in (("learning_rate", learning_rate), ("kappa", kappa)):
        if isinstance(value, int | float) and not value > 0:
            raise ValueError(f"obgd {name} ({value}) must be greater than 0")

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        td_error: Array,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        # The norm of the trace from that of the descent direction; a TD error of 0 moves nothing anyway.
        trace_norm = optax.tree.norm(updates, ord=1) / jnp.maximum(jnp.abs(td_error), 1e-30)
        excess = learning_rate * kappa * jnp.maximum(jnp.abs(td_error), 1.0) * trace_norm
        rate = learning_rate / jnp.maximum(excess, 1.0)
        return jax.tree.map(lambda u: (-rate * u).astype(u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
