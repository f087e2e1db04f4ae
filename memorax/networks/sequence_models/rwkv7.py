"""RWKV-7: the generalised delta rule."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.networks.sequence_models.ops.delta_rule import delta_rule
from memorax.types import Array, Key
from memorax.validation import require_divisor, require_positive, require_wide_heads

LARGEST_DECAY_RATE = math.exp(-0.5)
LONGEST_CHUNK = int(64 / LARGEST_DECAY_RATE)
"""What `delta_rule` allows where each component of the keys decays by itself."""


@struct.dataclass
class RWKV7Carry:
    """What RWKV-7 remembers, float32.

    Attributes:
        window: the last input, `[B, 1, F]`.
        state: wkv, `[B, num_heads, features // num_heads, features // num_heads]`, values by keys.
    """

    window: Array
    state: Array


class RWKV7Cell(MemoroidCell):
    """Time mixing of RWKV-7 (Peng et al., 2025, "RWKV-7 'Goose' with Expressive Dynamic State Evolution", Section 4.1).

        x^s = x_t + (x_{t-1} - x_t) mu_s  for s = r, k, v, w, a, g                 token shift
        r, k, v = W_r x^r, W_k x^k, W_v x^v
        w = exp(-exp(-1/2) sigmoid(b_w + W_w2 tanh(W_w1 x^w)))                     decay of each component of the keys
        a = sigmoid(b_a + W_a2 W_a1 x^a);  g = W_g2 sigmoid(W_g1 x^g)
        kappa = k xi / |k xi|;  k~ = k (1 + (a - 1) alpha)
        S_t = S_{t-1} (diag(w) - kappa (a kappa)^T) + v k~^T
        y_t = W_o (g * (GroupNorm(S_t r) + (r . rho k~) v))

    The first layer of the paper's stack: the values are not mixed with those of a layer below.

    Attributes:
        features: size of the outputs, and of all heads together.
        num_heads: number of heads; must divide `features`, into parts of at least 2, which are normalised.
        low_rank_dim: rank of the projections to w, a and g.
        chunk_length: steps computed at once, at most 105; a matter of speed alone.
        dtype: dtype of the projections; the recurrence is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_heads: int = 4
    low_rank_dim: int = 16
    chunk_length: int = 16
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features", "low_rank_dim", "chunk_length")
        if self.chunk_length > LONGEST_CHUNK:
            raise ValueError(
                f"RWKV7Cell chunk_length ({self.chunk_length}) must be at most {LONGEST_CHUNK}: the inverse of "
                "the decay over a chunk must be a float32"
            )
        require_divisor(self, "num_heads", "features", self.features)
        require_wide_heads(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: RWKV7Carry) -> tuple[RWKV7Carry, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        dense = functools.partial(Dense, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype)
        heads = (*inputs.shape[:2], self.num_heads, -1)
        shift = jnp.concatenate([jnp.ones((1, inputs.shape[-1])), jnp.zeros((1, inputs.shape[-1]))])
        window, previous = causal_convolution(inputs, shift, done, carry.window)

        def mixed(name: str, power: float) -> Array:
            mu = self.param(f"mu_{name}", _initial_shift(power), inputs.shape[-1:], self.param_dtype)
            return inputs + (previous - inputs) * mu.astype(inputs.dtype)[None, None]

        def low_rank(name: str, power: float, activation: Callable[[Array], Array]) -> Array:
            hidden = activation(dense(self.low_rank_dim, name=f"{name}_1")(mixed(name, power)))
            return dense(self.features, name=f"{name}_2")(hidden).astype(jnp.float32)

        def vector(name: str, init: nn.initializers.Initializer) -> Array:
            return self.param(name, init, (self.features,), self.param_dtype).astype(jnp.float32)[None, None]

        r, k, v = (
            dense(self.features, name=name)(mixed(name, power)).astype(jnp.float32)
            for name, power in (("r", 0.2), ("k", 0.7), ("v", 0.7))
        )
        constant = nn.initializers.constant
        decay_logit = vector("b_w", _initial_decay) + low_rank("w", 0.9, jnp.tanh)
        log_decay = -LARGEST_DECAY_RATE * nn.sigmoid(decay_logit)
        a = nn.sigmoid(vector("b_a", nn.initializers.zeros) + low_rank("a", 0.9, lambda x: x))
        g = low_rank("g", 0.2, nn.sigmoid)
        kappa = (k * vector("xi", constant(0.85))).reshape(heads)
        kappa = kappa * jax.lax.rsqrt(jnp.sum(kappa**2, axis=-1, keepdims=True) + 1e-12)
        k = k * (1 + (a - 1) * vector("alpha", nn.initializers.ones))
        bonus = (r * k * vector("rho", nn.initializers.zeros)).reshape(heads).sum(-1, keepdims=True)
        r, k, v, a, log_decay = (x.reshape(heads) for x in (r, k, v, a, log_decay))

        # The state is read before it decays.
        removal_queries = kappa * jnp.exp(-log_decay)
        state, outputs = delta_rule(
            log_decay, removal_queries, -a * kappa, k, v, r, done, carry.state, self.chunk_length
        )
        outputs = nn.LayerNorm(
            epsilon=1e-5 * self.features / self.num_heads,
            reduction_axes=-1,
            feature_axes=(-2, -1),
            use_fast_variance=False,
            param_dtype=self.param_dtype,
            name="norm",
        )(outputs)
        outputs = (outputs + bonus * v).reshape(g.shape) * g
        return RWKV7Carry(window, state), dense(self.features, name="out")(outputs.astype(inputs.dtype))

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> RWKV7Carry:
        """No last input and the zero state."""
        batch_size, size = input_shape[0], self.features // self.num_heads
        return RWKV7Carry(
            window=jnp.zeros((batch_size, 1, input_shape[1])),
            state=jnp.zeros((batch_size, self.num_heads, size, size)),
        )


def _initial_shift(power: float) -> nn.initializers.Initializer:
    """The previous input counts more in the first channels than in the last."""
    return lambda key, shape, dtype: 1 - (jnp.arange(shape[0], dtype=dtype) / shape[0]) ** power


def _initial_decay(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Memories from about 600 steps in the first channel to about 3 in the last."""
    return -6 + 6 * jnp.linspace(0, 1, shape[0], dtype=dtype)
