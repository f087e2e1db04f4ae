"""The linear recurrent unit."""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from memorax.networks.dense import project
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.types import Array, Key
from memorax.validation import require_positive


class LRUCell(MemoroidCell):
    """Linear recurrent unit (Orvieto et al., 2023, "Resurrecting Recurrent Neural Networks for Long Sequences").

    A complex diagonal recurrence, stable by its parametrization (Section 3.3) and normalized (Section 3.4, Eq. 7):

        lambda = exp(-exp(nu_log) + i exp(theta_log))
        h_t = lambda * h_{t-1} + exp(gamma_log) * (B x_t)
        y_t = Re(C h_t) + D x_t

    The eigenvalues start uniform on the ring `r_min <= |lambda| <= r_max` with phases in `[0, max_phase]` (Section
    3.2.2). The layer is linear in time: nonlinear layers belong before and after it.

    Attributes:
        features: size of the outputs.
        state_dim: number of complex states; `features` where None.
        r_min, r_max, max_phase: the ring and the largest phase at initialization.
        dtype: dtype of the projections; the state is complex64.
        param_dtype: dtype of the parameters.
    """

    elementwise = ("nu_log", "theta_log", "gamma_log", "B_re", "B_im")

    features: int
    state_dim: int | None = None
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the ring."""
        require_positive(self, "features")
        if not 0 <= self.r_min < self.r_max <= 1:
            raise ValueError(
                f"LRUCell r_min ({self.r_min}) and r_max ({self.r_max}) must satisfy 0 <= r_min < r_max <= 1"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        features, state_dim, input_dim = self.features, carry.shape[-1], inputs.shape[-1]
        nu_log = self.param("nu_log", ring_log_rate(self.r_min, self.r_max), (state_dim,), self.param_dtype)
        theta_log = self.param("theta_log", ring_log_phase(self.max_phase), (state_dim,), self.param_dtype)
        gamma_log = self.param("gamma_log", lambda *_: _gamma_log(nu_log))
        b_init, c_init = (
            nn.initializers.normal(1 / math.sqrt(2 * input_dim)),
            nn.initializers.normal(1 / math.sqrt(state_dim)),
        )
        b_re, b_im = (self.param(name, b_init, (input_dim, state_dim), self.param_dtype) for name in ("B_re", "B_im"))
        c_re, c_im = (self.param(name, c_init, (state_dim, features), self.param_dtype) for name in ("C_re", "C_im"))
        d = self.param("D", nn.initializers.lecun_normal(), (input_dim, features), self.param_dtype)

        decay = jnp.exp(jax.lax.complex(-jnp.exp(nu_log), jnp.exp(theta_log)))
        gamma = jnp.exp(gamma_log)[None]
        b = jnp.concatenate([b_re * gamma, b_im * gamma], axis=-1)
        c = jnp.concatenate([c_re, -c_im])
        inputs, b, c, d = promote_dtype(inputs.swapaxes(0, 1), b, c, d, dtype=self.dtype)  # [T, B, F]
        driven_re, driven_im = jnp.split(project(inputs, b).astype(jnp.float32), 2, axis=-1)
        carry, states = linear_recurrence(decay, jax.lax.complex(driven_re, driven_im), done.T, carry)
        parts = jnp.concatenate([states.real, states.imag], axis=-1).astype(inputs.dtype)
        return carry, (project(parts, c) + project(inputs, d)).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero state, complex64 `[B, state_dim]`."""
        return jnp.zeros((input_shape[0], self.state_dim or self.features), jnp.complex64)


def ring_log_rate(r_min: float, r_max: float) -> Callable[..., Array]:
    """An initializer of `nu_log` with `exp(-exp(nu_log))` the radius of a point uniform on a ring (Section 3.2.2)."""

    def init(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        # The smallest draw keeps a margin from |lambda| = 0 and 1, where the logarithms end.
        area = jax.random.uniform(key, shape, dtype, 1e-4, 1 - 1e-4)
        squared_radius = area * (r_max**2 - r_min**2) + r_min**2
        return jnp.log(-0.5 * jnp.log(squared_radius))

    return init


def ring_log_phase(max_phase: float) -> Callable[..., Array]:
    """An initializer of `theta_log` with `exp(theta_log)` uniform up to `max_phase`."""

    def init(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        return jnp.log(max_phase * jax.random.uniform(key, shape, dtype, 1e-4, 1.0))

    return init


def _gamma_log(nu_log: Array) -> Array:
    """`log sqrt(1 - |lambda|^2)`: the state keeps the variance of white inputs (Section 3.4)."""
    return 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(nu_log)))
