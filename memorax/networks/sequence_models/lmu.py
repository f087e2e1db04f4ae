"""The Legendre memory unit."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from memorax.networks.dense import project
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.recurrence import Gates, recurrence
from memorax.types import Array, Key


class LMUCell(MemoroidCell):
    """Legendre memory unit (Voelker et al., 2019, "Legendre Memory Units: Continuous-Time Representation in RNNs").

        u_t = e_x x_t + e_h h_{t-1} + e_m m_{t-1}                  (Eq. 7)
        m_t = A m_{t-1} + B u_t                                    (Eq. 4)
        h_t = tanh(W_x x_t + W_h h_{t-1} + W_m m_t)                (Eq. 6)

    `A` and `B` are fixed: the delay line of Eqs. 1-2, sampled by a zero-order hold. `m` holds the first `order`
    Legendre coefficients of the last `theta` steps of `u`. Substituting Eqs. 4 and 7 into Eq. 6 leaves one matrix
    product per step, on `[m_{t-1}, h_{t-1}]`; it is computed in float32, as a delay line needs.

    Attributes:
        features: size of the hidden state and of the outputs, n.
        order: number of polynomials, d.
        theta: length of the window, in steps.
        memory_d: number of signals u that are remembered, each with its own coefficients (1 in the paper).
        dtype: dtype of the input projection and the outputs; the recurrence is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    order: int = 16
    theta: float = 32.0
    memory_d: int = 1
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("features", "order", "theta", "memory_d"):
            if getattr(self, name) < 1:
                raise ValueError(f"LMUCell {name} ({getattr(self, name)}) must be at least 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        features, memory_d, input_dim = self.features, self.memory_d, inputs.shape[-1]
        memory_size = memory_d * self.order
        lecun, xavier = nn.initializers.lecun_uniform(), nn.initializers.xavier_normal()

        def parameter(name: str, init: nn.initializers.Initializer, rows: int, columns: int) -> Array:
            return self.param(name, init, (rows, columns), self.param_dtype).astype(jnp.float32)

        e_x = parameter("e_x", lecun, input_dim, memory_d)
        e_h = parameter("e_h", lecun, features, memory_d)
        e_m = parameter("e_m", nn.initializers.zeros, memory_size, memory_d)
        w_x = parameter("W_x", xavier, input_dim, features)
        w_h = parameter("W_h", xavier, features, features)
        w_m = parameter("W_m", xavier, memory_size, features)

        delay = legendre_delay(self.order, self.theta)
        a = jnp.asarray(np.kron(np.eye(memory_d), delay[0].T), jnp.float32)
        b = jnp.asarray(np.kron(np.eye(memory_d), delay[1][None]), jnp.float32)  # [memory_d, memory_size]
        recurrent = jnp.concatenate([a + e_m @ b, e_h @ b])  # what m_t takes from [m, h]
        hidden = jnp.concatenate([jnp.zeros((memory_size, features)), w_h]) + recurrent @ w_m
        kernel = jnp.concatenate([recurrent, hidden], axis=-1)
        written = e_x @ b
        input_kernel = jnp.concatenate([written, w_x + written @ w_m], axis=-1)

        dtype = self.dtype or jnp.result_type(inputs, jnp.float32)
        driven = project(inputs.swapaxes(0, 1).astype(dtype), input_kernel.astype(dtype))  # [T, B, memory_size + H]
        is_memory = np.arange(memory_size + features)[None] < memory_size

        def step(inputs: Gates, recurrent: Gates, state: Array) -> Array:
            total = inputs[0].astype(jnp.float32) + recurrent[0]
            return jnp.where(is_memory, total, jnp.tanh(total))

        zeros = jnp.zeros_like(carry)
        carry, states = recurrence(step, kernel, jnp.zeros(kernel.shape[-1]), (driven,), done.T, carry, zeros)
        return carry, states[..., memory_size:].astype(dtype).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero memory and the zero hidden state side by side, float32 `[B, memory_d * order + features]`."""
        return jnp.zeros((input_shape[0], self.memory_d * self.order + self.features), jnp.float32)


def legendre_delay(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """The delay of `theta` steps in Legendre coefficients (Voelker et al., 2019, Eq. 2), by a zero-order hold.

    Returns:
        `(A, B)`: `[order, order]` and `[order]`, of `m_t = A m_{t-1} + B u_t`.
    """
    i, j = np.ogrid[:order, :order]
    rate = (2 * i + 1) / theta
    a = rate * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    b = rate * (-1.0) ** i
    system = np.block([[a, b], [np.zeros((1, order + 1))]])
    sampled = scipy.linalg.expm(system)
    return sampled[:order, :order], sampled[:order, order]
