"""Losses as pure functions of arrays `[...]`, and means over the steps that count."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from memorax.types import Array, Metrics, PyTree

RELATIVE_PRECISION = 1e-6
"""What varies by less than this part of its mean is constant: float32 holds seven digits."""


def masked_mean(values: Array, mask: Array | None = None) -> Array:
    """The mean of `values` where `mask`; of all of them without one, and zero where none counts.

    What is left out does not matter, be it NaN.
    """
    if mask is None:
        return jnp.mean(values)
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def standardize(values: Array, mask: Array | None = None, epsilon: float = 1e-8) -> Array:
    """Shift and scale `values` to mean 0 and standard deviation 1, both taken where `mask`.

    What varies by less than a millionth of its mean is constant but for rounding, and becomes 0.
    """
    mean = masked_mean(values, mask)
    centred = values - mean
    # The rounding of a long sum is many times that of one number.
    centred = centred - masked_mean(centred, mask)
    deviation = jnp.sqrt(masked_mean(jnp.square(centred), mask))
    varies = deviation > RELATIVE_PRECISION * jnp.abs(mean)
    return jnp.where(varies, centred / (deviation + epsilon), 0.0)


def explained_variance(values: Array, targets: Array, mask: Array | None = None) -> Array:
    """The share of the variance of `targets` that `values` account for, where `mask`; a scalar.

    1 at best, and 0 for a constant; 0 too where the targets are constant, as there is nothing to account for.
    """

    def variance(numbers: Array) -> Array:
        centred = numbers - masked_mean(numbers, mask)
        return masked_mean(jnp.square(centred - masked_mean(centred, mask)), mask)

    total = variance(targets)
    varies = total > jnp.square(RELATIVE_PRECISION * masked_mean(targets, mask))
    return jnp.where(varies, 1.0 - variance(targets - values) / jnp.where(varies, total, 1.0), 0.0)


def clipped_surrogate(log_ratio: Array, advantage: Array, clip: Array | float) -> Array:
    """What PPO ascends (Schulman et al., 2017, eq. 7), elementwise.

    Args:
        log_ratio: logarithm of the action's probability over that while acting.
        advantage: advantage of the action.
        clip: distance of a ratio from 1 beyond which its gradient is cut.
    """
    ratio = jnp.exp(log_ratio)
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def policy_loss(
    distribution: Any,
    action: PyTree,
    log_prob: Array,
    advantage: Array,
    active: Array | None,
    clip: Array | float,
    normalize_advantage: bool,
) -> tuple[Array, Array, Metrics]:
    """PPO's loss of a policy, and its entropy.

    Args:
        distribution: the policy over actions, batch shape `[N, L]`.
        action: the actions taken, `[N, L, ...]`.
        log_prob: log-probabilities of the actions while acting, `[N, L]`.
        advantage: `[N, L]`.
        active: whether each step counts, `[N, L]`; None for all.
        clip: distance of a ratio from 1 beyond which its gradient is cut.
        normalize_advantage: standardise advantages over the steps that count.

    Returns:
        `(loss, entropy, metrics)`, scalars.
    """
    log_ratio = distribution.log_prob(action) - log_prob
    if normalize_advantage:
        advantage = standardize(advantage, active)
    loss = -masked_mean(clipped_surrogate(log_ratio, advantage, clip), active)
    entropy = masked_mean(distribution.entropy(), active)
    clipped = jnp.abs(jnp.exp(log_ratio) - 1) > clip
    return (
        loss,
        entropy,
        {
            "policy_loss": loss,
            "entropy": entropy,
            "approx_kl": masked_mean(approximate_kl(log_ratio), active),
            "clip_fraction": masked_mean(clipped, active),
        },
    )


def clipped_value_loss(head: Any, output: Array, target: Array, old_value: Array, clip: Array | float | None) -> Array:
    """A value head's loss, elementwise; with `clip`, values gain nothing by moving further than that from `old_value`.

    The clipped form is detail 9 of Huang et al., 2022, "The 37 Implementation Details of PPO". It needs a head whose
    output is the value: the loss of a distribution says nothing of that of a value which was clipped.
    """
    loss = head.loss(output, target)
    if clip is None:
        return loss
    near = old_value + jnp.clip(output - old_value, -clip, clip)
    return jnp.maximum(loss, head.loss(near, target))


def approximate_kl(log_ratio: Array) -> Array:
    """An estimate of the KL divergence from the acting policy, elementwise and never negative.

    It is the third estimator of Schulman, "Approximating KL Divergence", 2020: `(r - 1) - log r`.
    """
    return jnp.exp(log_ratio) - 1 - log_ratio


def signed_hyperbolic(values: Array, epsilon: float = 1e-3) -> Array:
    """Rescale values so that large ones lie closer together (Pohlen et al., 2018, "Observe and Look Further", eq. 2).

    `h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x`.
    """
    return jnp.sign(values) * (jnp.sqrt(jnp.abs(values) + 1) - 1) + epsilon * values


def signed_parabolic(values: Array, epsilon: float = 1e-3) -> Array:
    """The inverse of `signed_hyperbolic` (Pohlen et al., 2018, proposition A.2).

    Written as in the paper, `((sqrt(1 + 4 e (|y| + 1 + e)) - 1) / 2 e)^2 - 1`, it loses four digits in float32 where
    the root is close to 1. With `s = 2 (|y| + 1 + e) / (sqrt(1 + 4 e (|y| + 1 + e)) + 1)`, the same number without the
    difference, it is `(s - 1)(s + 1)`.
    """
    shifted = jnp.abs(values) + 1 + epsilon
    root = 2 * shifted / (jnp.sqrt(1 + 4 * epsilon * shifted) + 1)
    return jnp.sign(values) * (root - 1) * (root + 1)
