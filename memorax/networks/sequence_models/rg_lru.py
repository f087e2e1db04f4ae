"""The real-gated linear recurrent unit."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from memorax.networks.dense import block_diagonal, project
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.types import Array, Key
from memorax.validation import require_positive


class RGLRUCell(MemoroidCell):
    """Real-gated linear recurrent unit (De et al., 2024, "Griffin", Section 2.4, Eqs. 1-4).

        r_t = sigmoid(W_a x_t + b_a)                      recurrence gate
        i_t = sigmoid(W_x x_t + b_x)                      input gate
        a_t = a^(c r_t),    a = sigmoid(Lambda)
        h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * x_t)

    Both gates are block-diagonal. `a_t` is formed in log space and `1 - a_t^2` by `expm1`, exact near 0 and 1. `a^c`
    starts uniform in `[a_min, a_max]`. It is the bare recurrence: inputs have as many features as outputs.

    Attributes:
        features: size of the inputs, of the state and of the outputs.
        num_blocks: blocks of the gates' matrices; must divide `features` (16 in the paper, whose layers are wider).
        c: largest exponent that the recurrence gate gives the decay.
        a_min, a_max: range of `a^c` at initialization.
        dtype: dtype of the projections; the state is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_blocks: int = 4
    c: float = 8.0
    a_min: float = 0.9
    a_max: float = 0.999
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the sizes and the range."""
        require_positive(self, "features")
        if self.num_blocks < 1 or self.features % self.num_blocks:
            raise ValueError(f"RGLRUCell num_blocks ({self.num_blocks}) must divide features ({self.features})")
        if not 0 < self.a_min < self.a_max < 1:
            raise ValueError(
                f"RGLRUCell a_min ({self.a_min}) and a_max ({self.a_max}) must satisfy 0 < a_min < a_max < 1"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`.

        Raises:
            ValueError: if the inputs have another number of features.
        """
        if inputs.shape[-1] != self.features:
            raise ValueError(
                f"RGLRUCell features ({self.features}) must be the size of its inputs ({inputs.shape[-1]}): "
                f"put a layer of {self.features} features before it"
            )
        log_a = -self.c * nn.softplus(-self.param("Lambda", self._lambda, (self.features,), self.param_dtype))
        width = self.features // self.num_blocks
        kernel_init = nn.initializers.lecun_normal(batch_axis=(0, 1))
        kernel = self.param("kernel", kernel_init, (2, self.num_blocks, width, width), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (2, self.features), self.param_dtype)

        inputs, kernel, bias = promote_dtype(inputs.swapaxes(0, 1), kernel, bias, dtype=self.dtype)  # [T, B, F]
        kernel = jnp.concatenate([block_diagonal(blocks) for blocks in kernel], axis=-1)
        products = project(inputs, kernel) + bias.reshape(1, 1, -1)
        recurrence_gate, input_gate = jnp.split(nn.sigmoid(products.astype(jnp.float32)), 2, axis=-1)
        log_decay = recurrence_gate * log_a[None, None]
        # The slope of a square root is infinite at zero: a floor keeps the gradient finite where a gate closes.
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_decay), 1e-12))
        driven = scale * input_gate * inputs.astype(jnp.float32)
        carry, states = linear_recurrence(jnp.exp(log_decay), driven, done.T, carry)
        return carry, states.astype(inputs.dtype).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero state, float32 `[B, features]`."""
        return jnp.zeros((input_shape[0], self.features), jnp.float32)

    @nn.nowrap
    def _lambda(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        log_a = jnp.log(jax.random.uniform(key, shape, dtype, self.a_min, self.a_max)) / self.c
        return log_a - jnp.log(-jnp.expm1(log_a))  # sigmoid of this is a
