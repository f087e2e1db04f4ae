"""The running maximum of log decays and inputs, by which exponential gates are divided so that they stay finite."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.types import Array, where


def running_maximum(log_decay: Array, log_inputs: Array, done: Array, initial: Array) -> tuple[Array, Array]:
    """Run `m_t = max(log_decay_t + m_{t-1}, log_inputs_t)`, with `m_{t-1} = 0` where `done_t`.

    Time comes first. What is stabilised does not depend on the maximum, so no gradient flows through it, except
    from `initial` to `previous`.

    Args:
        log_decay: `[T, B, H]`.
        log_inputs: `[T, B, H]`.
        done: `[T, B]` bool.
        initial: `[B, H]`.

    Returns:
        `(previous, maxima)`, `[T, B, H]` both: `m_{t-1}`, zero where `done_t`, and `m_t`.
    """
    log_decay, log_inputs = jax.lax.stop_gradient((log_decay, log_inputs))

    def step(maximum: Array, xs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        log_decay, log_inputs, done = xs
        maximum = jnp.maximum(log_decay + where(done, jnp.zeros_like(maximum), maximum), log_inputs)
        return maximum, maximum

    _, maxima = jax.lax.scan(step, jax.lax.stop_gradient(initial), (log_decay, log_inputs, done))
    previous = jnp.concatenate([initial[None], maxima[:-1]])
    return where(done, jnp.zeros_like(previous), previous), maxima
