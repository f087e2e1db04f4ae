"""The simplified state space layer."""

from __future__ import annotations

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from memorax.networks.dense import project
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.discretization import zero_order_hold
from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.types import Array, Key
from memorax.validation import require_positive


class S5Cell(MemoroidCell):
    """S5 (Smith et al., 2023, "Simplified State Space Layers for Sequence Modeling"), in one direction.

    One state space with many inputs and many outputs, diagonal, sampled by a zero-order hold with a step of its own
    for each state (Section 3):

        h_t = exp(Lambda Delta) * h_{t-1} + (exp(Lambda Delta) - 1) / Lambda * (B x_t)
        y_t = 2 Re(C h_t) + D x_t

    `Lambda` starts with the eigenvalues of the normal part of HiPPO-LegS, `blocks` times over, and `B` and `C` in its
    eigenvectors (Section 3 and Appendix B); of each conjugate pair one is kept. The layer is linear in time:
    nonlinear layers belong before and after it.

    Attributes:
        features: size of the outputs.
        state_dim: size of the real system, P, twice the number of complex states; `features` where None.
        blocks: diagonal blocks of the initial state matrix, J; `2 blocks` must divide `state_dim`.
        dt_min, dt_max: range of the steps at initialization, log-uniform.
        dtype: dtype of the projections; the state is complex64.
        param_dtype: dtype of the parameters.
    """

    elementwise = ("Lambda_re", "Lambda_im", "log_step", "B")

    features: int
    state_dim: int | None = None
    blocks: int = 1
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features")
        if self.blocks < 1 or self._state_dim % (2 * self.blocks):
            raise ValueError(
                f"S5Cell state_dim ({self._state_dim}, by default features) must be a multiple of 2 * blocks "
                f"({self.blocks})"
            )
        if not 0 < self.dt_min < self.dt_max:
            raise ValueError(
                f"S5Cell dt_min ({self.dt_min}) and dt_max ({self.dt_max}) must satisfy 0 < dt_min < dt_max"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        features, num_states, input_dim = self.features, carry.shape[-1], inputs.shape[-1]
        eigenvalues, eigenvectors = hippo_normal(self._state_dim, self.blocks)
        lambda_re = self.param("Lambda_re", lambda *_: jnp.asarray(eigenvalues.real, self.param_dtype))
        lambda_im = self.param("Lambda_im", lambda *_: jnp.asarray(eigenvalues.imag, self.param_dtype))
        log_step = self.param("log_step", self._log_step, (num_states,), self.param_dtype)

        lecun = nn.initializers.lecun_normal()
        real, imaginary = (jnp.asarray(part, self.param_dtype) for part in (eigenvectors.real, eigenvectors.imag))

        def b_init(key: Key) -> Array:
            b = lecun(key, (input_dim, self._state_dim), self.param_dtype)
            return jnp.stack([b @ real, -b @ imaginary])

        def c_init(key: Key) -> Array:
            c = lecun(key, (self._state_dim, features), self.param_dtype)
            return jnp.stack([real.T @ c, imaginary.T @ c])

        b, c = self.param("B", b_init), self.param("C", c_init)  # real and imaginary parts
        d = self.param("D", nn.initializers.lecun_normal(), (input_dim, features), self.param_dtype)

        # Eigenvalues stay in the left half-plane, so that the state decays.
        decay, gain = zero_order_hold(jax.lax.complex(jnp.minimum(lambda_re, -1e-4), lambda_im), jnp.exp(log_step))
        b = gain[None] * jax.lax.complex(b[0], b[1])
        b, c = jnp.concatenate([b.real, b.imag], axis=-1), 2 * jnp.concatenate([c[0], -c[1]])
        inputs, b, c, d = promote_dtype(inputs.swapaxes(0, 1), b, c, d, dtype=self.dtype)  # [T, B, F]
        driven_re, driven_im = jnp.split(project(inputs, b).astype(jnp.float32), 2, axis=-1)
        carry, states = linear_recurrence(decay, jax.lax.complex(driven_re, driven_im), done.T, carry)
        parts = jnp.concatenate([states.real, states.imag], axis=-1).astype(inputs.dtype)
        return carry, (project(parts, c) + project(inputs, d)).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero state, complex64 `[B, state_dim / 2]`."""
        return jnp.zeros((input_shape[0], self._state_dim // 2), jnp.complex64)

    @property
    def _state_dim(self) -> int:
        return self.state_dim or self.features

    @nn.nowrap
    def _log_step(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        return jax.random.uniform(key, shape, dtype, math.log(self.dt_min), math.log(self.dt_max))


def hippo_normal(state_dim: int, blocks: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The normal part of HiPPO-LegS, diagonalized, from which S5 starts (Smith et al., 2023).

    Args:
        state_dim: size of the block-diagonal matrix, P.
        blocks: number of its equal blocks.

    Returns:
        `(eigenvalues, eigenvectors)`: complex `[P / 2]`, those with a positive imaginary part, and `[P, P / 2]`.
    """
    size = state_dim // blocks
    n = np.arange(size)
    scale = np.sqrt(2 * n + 1)
    # LegS with the low-rank term added that makes it normal: -1/2 on the diagonal, antisymmetric beside it.
    antisymmetric = np.outer(scale, scale) / 2 * np.sign(n[None] - n[:, None])
    frequencies, vectors = np.linalg.eigh(-1j * antisymmetric)
    frequencies, vectors = frequencies[size // 2 :], vectors[:, size // 2 :]
    return np.tile(-0.5 + 1j * frequencies, blocks), np.kron(np.eye(blocks), vectors)
