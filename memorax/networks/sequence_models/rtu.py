"""Recurrent trace units."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from memorax.networks.dense import project
from memorax.networks.sequence_models.lru import ring_log_phase, ring_log_rate
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.elementwise_recurrence import elementwise_recurrence
from memorax.types import Array, Key

Pair = tuple[Array, Array]


class RTUCell(MemoroidCell):
    """Recurrent trace units (Elelimy et al., 2024, "Real-Time Recurrent Learning using Trace Units in RL").

    A complex diagonal recurrence written as pairs of real units that turn and shrink. The nonlinear units have the
    nonlinearity inside the recurrence:

        h1_t = f(r (cos(theta) h1_{t-1} - sin(theta) h2_{t-1}) + gamma W1 x_t)
        h2_t = f(r (cos(theta) h2_{t-1} + sin(theta) h1_{t-1}) + gamma W2 x_t)
        y_t = [h1_t, h2_t]

    and the linear ones behind it, `y_t = f([h1_t, h2_t])`: their turns are whole, so that what every step adds cancels
    over a turn, and a single input stands out from it. In both, `r = exp(-exp(nu_log))`, `theta = exp(theta_log)` and
    `gamma = sqrt(1 - r^2)`. They start as those of an LRU: uniform on the ring `r_min <= r <= r_max`, with phases in
    `[0, max_phase]`.

    Attributes:
        features: size of the outputs, twice the number of pairs.
        activation: activation function f, rectified linear in the paper.
        linear: whether f is applied to the outputs and not inside the recurrence.
        r_min, r_max, max_phase: the ring and the largest phase at initialization.
        dtype: dtype of the projections; the state is float32.
        param_dtype: dtype of the parameters.
    """

    elementwise = ("nu_log", "theta_log", "kernel")

    features: int
    activation: Callable[[Array], Array] = nn.relu
    linear: bool = False
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes and the ring."""
        if self.features < 2 or self.features % 2:
            raise ValueError(f"RTUCell features ({self.features}) must be even: its units come in pairs")
        if not 0 <= self.r_min < self.r_max <= 1:
            raise ValueError(
                f"RTUCell r_min ({self.r_min}) and r_max ({self.r_max}) must satisfy 0 <= r_min < r_max <= 1"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Pair) -> tuple[Pair, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        num_pairs, input_dim = self.features // 2, inputs.shape[-1]
        nu_log = self.param("nu_log", ring_log_rate(self.r_min, self.r_max), (num_pairs,), self.param_dtype)
        theta_log = self.param("theta_log", ring_log_phase(self.max_phase), (num_pairs,), self.param_dtype)
        kernel_init = nn.initializers.lecun_normal(batch_axis=0)
        kernel = self.param("kernel", kernel_init, (2, input_dim, num_pairs), self.param_dtype)

        nu, theta = jnp.exp(nu_log)[None], jnp.exp(theta_log)[None]
        weights = jnp.exp(-nu) * jnp.cos(theta), jnp.exp(-nu) * jnp.sin(theta)
        kernel = kernel * jnp.sqrt(-jnp.expm1(-2 * nu))[None]
        inputs, kernel = promote_dtype(inputs.swapaxes(0, 1), kernel, dtype=self.dtype)  # [T, B, F]
        driven = project(inputs, kernel[0]).astype(jnp.float32), project(inputs, kernel[1]).astype(jnp.float32)

        def step(weights: Pair, driven: Pair, state: Pair) -> Pair:
            (cosine, sine), (h1, h2) = weights, state
            turned = cosine * h1 - sine * h2 + driven[0], cosine * h2 + sine * h1 + driven[1]
            return turned if self.linear else (self.activation(turned[0]), self.activation(turned[1]))

        carry, states = elementwise_recurrence(step, weights, driven, done.T, carry)
        outputs = jnp.concatenate(states, axis=-1)
        outputs = self.activation(outputs) if self.linear else outputs
        return carry, outputs.astype(inputs.dtype).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Pair:
        """The zero pairs, float32 `[B, features / 2]` each."""
        zeros = jnp.zeros((input_shape[0], self.features // 2), jnp.float32)
        return zeros, zeros
