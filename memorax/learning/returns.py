"""Returns of one trajectory: pure functions of arrays `[T]`, mapped over environments by `jax.vmap`.

All of them speak of the same five sequences, and of step `t` as the one that leads from timestep `t` to its successor:

* `rewards[t]`, what step `t` paid;
* `values[t]`, the value of timestep `t`;
* `next_values[t]`, the value of the successor of step `t`: `values[t + 1]` inside an episode, the value of the final
  observation where the episode was cut off by a time limit. `values[t + 1]` belongs to the next episode there;
* `discounts[t]`, zero where step `t` terminated the episode, gamma elsewhere (where it was truncated too);
* `done[t]`, whether the episode ended with step `t` for either reason: no trace crosses it.

Nothing from behind a `done` reaches what lies before it, not even a NaN, and the value of a successor that is
discounted to zero is not read. The last step of a trajectory is bootstrapped from `next_values` like a truncated one.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from memorax.types import Array


def generalized_advantage_estimate(
    rewards: Array, values: Array, next_values: Array, discounts: Array, done: Array, lambda_: Array | float
) -> Array:
    """Exponentially weighted sum of TD errors (Schulman et al., 2016, High-Dimensional Continuous Control, eq. 16).

    Args:
        rewards: reward of each step, `[T]`.
        values: values of the timesteps, `[T]`.
        next_values: values of the steps' successors, `[T]`.
        discounts: zero where a step terminated the episode, gamma elsewhere, `[T]`.
        done: whether the episode ended with the step, `[T]`.
        lambda_: weight between one-step (0) and Monte Carlo (1) advantages.

    Returns:
        Advantages `[T]`; with `values` added they are the lambda-returns.

    Raises:
        ValueError: if a sequence is not `[T]`.
    """
    _check_sequences(rewards=rewards, values=values, next_values=next_values, discounts=discounts, done=done)
    td_errors = rewards + _discounted(discounts, next_values) - values
    return _backward_sum(td_errors, discounts * lambda_, done)


def lambda_return(rewards: Array, next_values: Array, discounts: Array, done: Array, lambda_: Array | float) -> Array:
    """Mixture of all n-step returns with weights `(1 - lambda) lambda^(n - 1)` (Sutton and Barto, 2018, eq. 12.18).

    Args:
        rewards: reward of each step, `[T]`.
        next_values: values of the steps' successors, `[T]`.
        discounts: zero where a step terminated the episode, gamma elsewhere, `[T]`.
        done: whether the episode ended with the step, `[T]`.
        lambda_: weight between the one-step (0) and the Monte Carlo (1) return.

    Returns:
        Returns `[T]`.

    Raises:
        ValueError: if a sequence is not `[T]`.
    """
    _check_sequences(rewards=rewards, next_values=next_values, discounts=discounts, done=done)
    cut = _ends(done)
    bootstraps = jnp.where(cut, 1.0, 1.0 - lambda_) * _discounted(discounts, next_values)
    return _backward_sum(rewards + bootstraps, discounts * lambda_, done)


def n_step_return(rewards: Array, next_values: Array, discounts: Array, done: Array, n: int) -> Array:
    """Up to `n` rewards, then the value of the successor (Sutton and Barto, 2018, eq. 7.1).

    Fewer than `n` rewards are summed where the episode or the trajectory ends before.

    Args:
        rewards: reward of each step, `[T]`.
        next_values: values of the steps' successors, `[T]`.
        discounts: zero where a step terminated the episode, gamma elsewhere, `[T]`.
        done: whether the episode ended with the step, `[T]`.
        n: how many rewards, at least 1.

    Returns:
        Returns `[T]`.

    Raises:
        ValueError: if a sequence is not `[T]`, or `n` is below 1.
    """
    _check_sequences(rewards=rewards, next_values=next_values, discounts=discounts, done=done)
    if n < 1:
        raise ValueError(f"n ({n}) must be at least 1: an n-step return sums at least one reward")
    cut = _ends(done)

    def one_more_step(returns: Array, _: None) -> tuple[Array, None]:
        successors = jnp.where(cut, next_values, jnp.roll(returns, -1))
        return rewards + _discounted(discounts, successors), None

    one_step = rewards + _discounted(discounts, next_values)
    returns, _ = jax.lax.scan(one_more_step, one_step, None, length=min(n, len(rewards)) - 1)
    return returns


class VTrace(NamedTuple):
    """What V-trace computes.

    Attributes:
        targets: the values to regress on, `[T]`.
        advantages: what weights the policy gradient, `[T]`.
    """

    targets: Array
    advantages: Array


def vtrace(
    rewards: Array,
    values: Array,
    next_values: Array,
    discounts: Array,
    done: Array,
    importance_ratios: Array,
    lambda_: Array | float = 1.0,
    rho_clip: float = 1.0,
    c_clip: float = 1.0,
) -> VTrace:
    """Off-policy corrected values and advantages (Espeholt et al., 2018, IMPALA, section 4.1 and eq. 1).

    Args:
        rewards: reward of each step, `[T]`.
        values: values of the timesteps, `[T]`.
        next_values: values of the steps' successors, `[T]`.
        discounts: zero where a step terminated the episode, gamma elsewhere, `[T]`.
        done: whether the episode ended with the step, `[T]`.
        importance_ratios: probability of the action taken under the policy that is learned over that under the policy
            that acted, `[T]`.
        lambda_: discount of the traces (remark 2 of the paper).
        rho_clip: limit of the ratios that weight TD errors; it decides what is converged to.
        c_clip: limit of the ratios that weight traces; it decides how fast.

    Returns:
        Targets and advantages. They are meant as constants: stop gradients where `values` carries some.

    Raises:
        ValueError: if a sequence is not `[T]`.
    """
    _check_sequences(
        rewards=rewards,
        values=values,
        next_values=next_values,
        discounts=discounts,
        done=done,
        importance_ratios=importance_ratios,
    )
    rho = jnp.minimum(rho_clip, importance_ratios)
    traces = lambda_ * jnp.minimum(c_clip, importance_ratios)
    td_errors = rho * (rewards + _discounted(discounts, next_values) - values)
    corrections = _backward_sum(td_errors, discounts * traces, done)
    cut = _ends(done)
    next_targets = next_values + jnp.where(cut, 0.0, jnp.roll(corrections, -1))
    advantages = rho * (rewards + _discounted(discounts, next_targets) - values)
    return VTrace(values + corrections, advantages)


def retrace(
    rewards: Array,
    action_values: Array,
    next_values: Array,
    discounts: Array,
    done: Array,
    importance_ratios: Array,
    lambda_: Array | float = 1.0,
) -> Array:
    """Off-policy returns for action values (Munos et al., 2016, Safe and Efficient Off-Policy RL, eqs. 3 and 4).

    Args:
        rewards: reward of each step, `[T]`.
        action_values: values of the actions taken, `[T]`.
        next_values: expected values of the steps' successors under the policy that is learned, `[T]`.
        discounts: zero where a step terminated the episode, gamma elsewhere, `[T]`.
        done: whether the episode ended with the step, `[T]`.
        importance_ratios: probability of the action taken under the policy that is learned over that under the policy
            that acted, `[T]`; traces are clipped at 1.
        lambda_: discount of the traces.

    Returns:
        Returns `[T]`.

    Raises:
        ValueError: if a sequence is not `[T]`.
    """
    _check_sequences(
        rewards=rewards,
        action_values=action_values,
        next_values=next_values,
        discounts=discounts,
        done=done,
        importance_ratios=importance_ratios,
    )
    # An error that arises at t + 1 is weighted by how likely the action taken there is.
    traces = lambda_ * jnp.minimum(1.0, importance_ratios)
    traces = jnp.append(traces[1:], jnp.zeros_like(traces[:1]))
    td_errors = rewards + _discounted(discounts, next_values) - action_values
    return action_values + _backward_sum(td_errors, discounts * traces, done)


def _check_sequences(**sequences: Array) -> None:
    shape = jnp.shape(sequences["rewards"])
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(f"rewards {shape} must be [T] with T at least 1: use jax.vmap for further axes")
    for name, sequence in sequences.items():
        if jnp.shape(sequence) != shape:
            raise ValueError(f"{name} {jnp.shape(sequence)} must have the shape of rewards, {shape}")


def _ends(done: Array) -> Array:
    """`done`, and the end of the trajectory."""
    return done | (jnp.arange(len(done)) == len(done) - 1)


def _discounted(discounts: Array, next_values: Array) -> Array:
    """`discounts * next_values`, zero where the discount is, whatever the value."""
    return discounts * jnp.where(discounts == 0, 0.0, next_values)


def _backward_sum(terms: Array, decays: Array, done: Array) -> Array:
    """`sums[t] = terms[t] + decays[t] * sums[t + 1]`, restarted where `done`."""
    decays = jnp.where(done, 0.0, decays)

    def step(later: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        term, decay, cut = inputs
        total = term + decay * jnp.where(cut, 0.0, later)
        return total, total

    _, sums = jax.lax.scan(step, jnp.zeros_like(terms[0]), (terms, decays, done), reverse=True)
    return sums
