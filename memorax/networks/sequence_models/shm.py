"""Stable Hadamard memory."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.division import divide_by_shared
from memorax.networks.sequence_models.ops.windowed_attention import count_positions
from memorax.types import Array, Key, PyTree, where
from memorax.validation import require_several


@struct.dataclass
class SHMCarry:
    """What a stable Hadamard memory remembers.

    Attributes:
        memory: float32 `[B, memory_size, memory_size]`.
        position: int32 `[B]`, how many inputs of the episode came before the next.
    """

    memory: Array
    position: Array


class SHMCell(MemoroidCell):
    """Stable Hadamard memory (Le et al., 2024, "Stable Hadamard Memory: Revitalizing Memory-Augmented Agents for RL").

    A matrix that is calibrated and written elementwise:

        M_t = M_{t-1} * C_t + U_t
        C_t = 1 + tanh(theta_t v_c(x_t)^T)                              calibration
        U_t = eta(x_t) v(x_t) k(x_t)^T                                  update
        h_t = M_t q(x_t)

    with `eta` a sigmoid, and keys and queries rectified and scaled to sum to 1, of normalized inputs. The output is a
    layer over `h_t` plus a linear shortcut of these inputs, as in the authors' agent for POPGym.

    `theta_t` is a row of a learned matrix, drawn uniformly at every step so that calibrations of different steps are
    independent, which keeps the expectation of their product bounded. Were it drawn from a key, the agent would act
    with other rows than it learns with. The row is therefore a hash of the step's place in its episode, which the carry
    counts: uniform over the rows and without pattern from step to step, and the same whenever that step is computed.
    Every episode meets the same order of rows.

    The expectation of a calibration is 1, so its product over time has heavy tails: most entries fade, and a few of
    a long episode may grow large.

    Attributes:
        features: size of the outputs.
        memory_size: rows and columns of the memory, H.
        num_thetas: rows to draw from, L.
        dtype: dtype of the projections; the memory is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    memory_size: int = 32
    num_thetas: int = 128
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("features", "memory_size", "num_thetas"):
            if getattr(self, name) < 1:
                raise ValueError(f"SHMCell {name} ({getattr(self, name)}) must be at least 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: SHMCarry) -> tuple[SHMCarry, Array]:
        """Run over a sequence; see `MemoroidCell`.

        Raises:
            ValueError: if the inputs, which are normalised, have a single feature.
        """
        require_several("SHMCell", f"features of the inputs ({inputs.shape[-1]})", inputs.shape[-1])
        size = self.memory_size
        thetas = self.param("theta", nn.initializers.xavier_uniform(), (self.num_thetas, size), self.param_dtype)
        positions = count_positions(done, carry.position)

        x = nn.LayerNorm(dtype=self.dtype, param_dtype=self.param_dtype, name="norm")(inputs.swapaxes(0, 1))
        projected = self._dense(5 * size + 1, "inputs", use_bias=False)(x).astype(jnp.float32)  # [T, B, ...]
        key, query, value, calibration, shortcut, eta = jnp.split(projected, [size * i for i in range(1, 6)], axis=-1)
        rows = thetas.astype(jnp.float32)[draw_rows(positions.T, self.num_thetas)]
        written = nn.sigmoid(eta) * value, _simplex(key)
        memory, read = _hadamard((rows, calibration), written, _simplex(query), done.T, carry.memory)
        outputs = self._dense(self.features, "outputs", use_bias=True)((read + shortcut).astype(x.dtype))
        return SHMCarry(memory, positions[:, -1] + 1), outputs.swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> SHMCarry:
        """The zero memory, at position 0."""
        batch_size = input_shape[0]
        return SHMCarry(
            memory=jnp.zeros((batch_size, self.memory_size, self.memory_size), jnp.float32),
            position=jnp.zeros((batch_size,), jnp.int32),
        )

    @nn.nowrap
    def _dense(self, features: int, name: str, use_bias: bool) -> nn.Dense:
        return Dense(features, use_bias, dtype=self.dtype, param_dtype=self.param_dtype, name=name)


def draw_rows(positions: Array, num_rows: int) -> Array:
    """A row for each position, uniform in `[0, num_rows)`: the finalizer of MurmurHash3 (Appleby, 2011), reduced."""
    x = positions.astype(jnp.uint32) + jnp.uint32(0x9E3779B9)
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return ((x ^ (x >> 16)) % jnp.uint32(num_rows)).astype(jnp.int32)


def _simplex(x: Array) -> Array:
    """Rectified, and scaled to sum to 1 over the last axis."""
    x = nn.relu(x)
    return divide_by_shared(x, 1e-5 + x.sum(axis=-1, keepdims=True))


def _hadamard(
    calibration: tuple[Array, Array],
    written: tuple[Array, Array],
    query: Array,
    done: Array,
    memory: Array,
) -> tuple[Array, Array]:
    """`M_t = M_{t-1} * (1 + tanh(a_t b_t^T)) + v_t k_t^T`, read by `q_t`, with resets.

    The gradient recomputes calibrations from their vectors.

    Args:
        calibration: `(a, b)`, each `[T, B, H]`.
        written: `(v, k)`, each `[T, B, H]`.
        query: `[T, B, H]`.
        done: `[T, B]`.
        memory: `[B, H, H]`.

    Returns:
        `(memory, M_t q_t)`: `[B, H, H]` and `[T, B, H]`.
    """

    @jax.checkpoint
    def step(memory: Array, xs: PyTree) -> tuple[Array, Array]:
        (a, b), (v, k), q, done = xs
        memory = where(done, jnp.zeros_like(memory), memory)
        memory = memory * (1 + jnp.tanh(a[..., :, None] * b[..., None, :])) + v[..., :, None] * k[..., None, :]
        return memory, (memory * q[..., None, :]).sum(-1)

    return jax.lax.scan(step, memory, (calibration, written, query, done))
