"""Residual and gated connections around a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from memorax.networks.blocks.block import Block
from memorax.networks.dense import Dense
from memorax.types import Array, Carry


class Residual(Block):
    """`x + model(x)` (He et al., 2016, "Deep Residual Learning for Image Recognition", Eq. 1).

    Attributes:
        model: module whose outputs are added; it keeps the number of features.
    """

    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run over a sequence; see `SequenceModel`.

        Raises:
            ValueError: if the model changes the number of features.
        """
        carry, outputs = self.model(inputs, done, carry)
        _check_widths(self, inputs, outputs)
        return carry, inputs + outputs

    @nn.nowrap
    def output_features(self, input_shape: tuple[int, ...]) -> int:
        """Those of the inputs, which the model keeps."""
        return input_shape[-1]


class GatedResidual(Block):
    """The gate of a GRU in place of the sum (Parisotto et al., 2019, "Stabilizing Transformers for RL", Section 3.2).

        y = activation(model(x))                        a rectifier, Section 3.1
        r = sigmoid(W_r y + U_r x)
        z = sigmoid(W_z y + U_z x - b_g)
        h = tanh(W_g y + U_g (r * x))
        output = (1 - z) * x + z * h                    GRU-type gating

    Attributes:
        model: module whose outputs pass through the gate; it keeps the number of features.
        activation: activation function after the model.
        bias: `b_g` at initialisation; above zero the gate starts near the identity.
        dtype: dtype of the gate's computation.
        param_dtype: dtype of the parameters.
    """

    activation: Callable[[Array], Array] = nn.relu
    bias: float = 2.0
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run over a sequence; see `SequenceModel`.

        Raises:
            ValueError: if the model changes the number of features.
        """
        carry, outputs = self.model(inputs, done, carry)
        _check_widths(self, inputs, outputs)
        features = inputs.shape[-1]
        bias = self.param("b_g", nn.initializers.constant(self.bias), (features,), self.param_dtype)
        reset, update, candidate = jnp.split(self._dense(3 * features, "W")(self.activation(outputs)), 3, axis=-1)
        reset_of_inputs, update_of_inputs = jnp.split(self._dense(2 * features, "U_rz")(inputs), 2, axis=-1)
        r = nn.sigmoid(reset + reset_of_inputs)
        z = nn.sigmoid(update + update_of_inputs - bias.astype(update.dtype)[None, None])
        h = jnp.tanh(candidate + self._dense(features, "U_g")(r * inputs))
        return carry, (1 - z) * inputs + z * h

    @nn.nowrap
    def output_features(self, input_shape: tuple[int, ...]) -> int:
        """Those of the inputs, which the model keeps."""
        return input_shape[-1]

    @nn.nowrap
    def _dense(self, features: int, name: str) -> nn.Dense:
        return Dense(features, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name=name)


class Gated(Block):
    """`activation(W x) * model(x)`: a second branch decides what of the model's outputs passes.

    Attributes:
        model: module whose outputs are gated.
        activation: activation function of the gate.
        dtype: dtype of the gate's computation.
        param_dtype: dtype of the parameters.
    """

    activation: Callable[[Array], Array] = nn.gelu
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run over a sequence; see `SequenceModel`."""
        carry, outputs = self.model(inputs, done, carry)
        gate = Dense(outputs.shape[-1], dtype=self.dtype, param_dtype=self.param_dtype, name="gate")(inputs)
        return carry, self.activation(gate) * outputs

    @nn.nowrap
    def output_features(self, input_shape: tuple[int, ...]) -> int:
        """Those of the model."""
        return self.model.output_features(input_shape)


def _check_widths(block: nn.Module, inputs: Array, outputs: Array) -> None:
    if outputs.shape != inputs.shape:
        raise ValueError(
            f"{type(block).__name__} model returns {outputs.shape[-1]} features for {inputs.shape[-1]}: "
            f"both must be alike, put a Projection before it or at its end"
        )
