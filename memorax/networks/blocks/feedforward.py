"""Feedforward layers, applied to each step by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from memorax.networks.dense import Dense
from memorax.types import Array
from memorax.validation import require_positive


class Projection(nn.Module):
    """A dense layer, which changes the number of features.

    Attributes:
        features: size of the outputs.
        use_bias: whether a bias is added.
        dtype: dtype of the computation.
        param_dtype: dtype of the parameters.
    """

    features: int
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Check the size."""
        require_positive(self, "features")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """`[..., features]` of `[..., F]`."""
        return Dense(self.features, self.use_bias, self.dtype, self.param_dtype, name="dense")(inputs)


class FFN(nn.Module):
    """Position-wise feedforward network (Vaswani et al., 2017, Section 3.3, Eq. 2): `W_2 activation(W_1 x)`.

    Attributes:
        features: size of the outputs.
        hidden_features: size of the layer between; four times `features` where None.
        activation: function applied after the first layer; a tanh-approximated GELU, as in GPT-2.
        dtype: dtype of the computation.
        param_dtype: dtype of the parameters.
    """

    features: int
    hidden_features: int | None = None
    activation: Callable[[Array], Array] = nn.gelu
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Check the size."""
        require_positive(self, "features")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """`[..., features]` of `[..., F]`."""
        width = self.hidden_features or 4 * self.features
        hidden = Dense(width, dtype=self.dtype, param_dtype=self.param_dtype, name="W_1")(inputs)
        return Dense(self.features, dtype=self.dtype, param_dtype=self.param_dtype, name="W_2")(self.activation(hidden))


class GLU(nn.Module):
    """Gated linear unit (Dauphin et al., 2017, Eq. 1; Shazeer, 2020, "GLU Variants", Eq. 5).

        output = activation(W x + b) * (V x + c)

    `nn.Sequential([GLU(4 * 64, nn.silu), Projection(64)])` is the feedforward network FFN_SwiGLU of Shazeer (Eq. 6),
    with biases.

    Attributes:
        features: size of the outputs.
        activation: activation function of the gate.
        project_values: whether there is a `V x + c`; otherwise the gate acts on the inputs themselves.
        use_bias: whether biases are added.
        dtype: dtype of the computation.
        param_dtype: dtype of the parameters.
    """

    features: int
    activation: Callable[[Array], Array] = nn.sigmoid
    project_values: bool = True
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Check the size."""
        require_positive(self, "features")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """`[..., features]` of `[..., F]`."""
        width = 2 * self.features if self.project_values else self.features
        projected = Dense(width, self.use_bias, self.dtype, self.param_dtype, name="WV")(inputs)
        gate, values = jnp.split(projected, 2, axis=-1) if self.project_values else (projected, inputs)
        return self.activation(gate) * values
