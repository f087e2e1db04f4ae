"""A stack of layers, repeated and scanned."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.networks.sequence_models.sequence_model_wrapper import as_sequence_model
from memorax.types import Array, Carry, Key


class Stack(SequenceModel):
    """Layers one after another, repeated `depth` times with parameters of their own each time.

    Over a sequence the repetitions run in a loop that is compiled once, whatever the depth; their parameters have a
    leading axis, `[depth, ...]`. They hand their outputs on in the dtype of the stack's inputs.

    Attributes:
        layers: sequence models, or modules that map `[B, T, F]` to `[B, T, D]`, each step by itself.
        depth: number of times the layers are repeated; if more than 1, they must keep the number of features.
    """

    layers: Sequence[nn.Module]
    depth: int = 1

    def __post_init__(self) -> None:
        """Check the sizes, and let modules without memory stand where sequence models do."""
        if not self.layers:
            raise ValueError("Stack layers () must have at least one")
        if self.depth < 1:
            raise ValueError(f"Stack depth ({self.depth}) must be at least 1")
        self.layers = tuple(as_sequence_model(layer) for layer in self.layers)
        super().__post_init__()

    def __call__(self, inputs: Array, done: Array, carry: tuple[Carry, ...]) -> tuple[tuple[Carry, ...], Array]:
        """Run the layers; see `SequenceModel`.

        Raises:
            ValueError: if layers that repeat change the number of features.
        """
        check_sequence(inputs, done, carry)
        if self.depth == 1:
            return self._run(inputs, done, carry)

        def once(stack: Stack, inputs: Array, carry: tuple[Carry, ...]) -> tuple[Array, tuple[Carry, ...]]:
            carry, outputs = stack._run(inputs, done, carry)
            if outputs.shape != inputs.shape:
                raise ValueError(
                    f"Stack layers return {outputs.shape[-1]} features for {inputs.shape[-1]}: "
                    f"to repeat them {stack.depth} times both must be alike"
                )
            return outputs.astype(inputs.dtype), carry

        # A single step is so short that a loop, which takes the layers' parameters and carries apart, would double it.
        unroll = self.depth if inputs.shape[1] == 1 else 1
        repeat = nn.scan(once, {True: 0}, split_rngs={True: True}, length=self.depth, unroll=unroll)
        outputs, stacked = repeat(self, inputs, jax.tree.map(lambda *leaves: jnp.stack(leaves), *carry))
        return tuple(jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(self.depth)), outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> tuple[Carry, ...]:
        """A carry for each layer, and where the layers repeat a tuple of these for each repetition."""
        shapes = self._input_shapes(input_shape)
        carries = [layer.initialize_carry(key, shape) for layer, shape in zip(self.layers, shapes, strict=True)]
        return tuple(carries) if self.depth == 1 else (tuple(carries),) * self.depth

    @nn.nowrap
    def output_features(self, input_shape: tuple[int, ...]) -> int:
        """Those of the last layer."""
        return self.layers[-1].output_features(self._input_shapes(input_shape)[-1])

    @nn.nowrap
    def _input_shapes(self, input_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """`(B, F)` of each layer's inputs."""
        shapes = [input_shape]
        for layer in self.layers[:-1]:
            shapes.append((input_shape[0], layer.output_features(shapes[-1])))
        return shapes

    def _run(self, inputs: Array, done: Array, carry: tuple[Carry, ...]) -> tuple[tuple[Carry, ...], Array]:
        carries = []
        for layer, layer_carry in zip(self.layers, carry, strict=True):
            layer_carry, inputs = layer(inputs, done, layer_carry)
            carries.append(layer_carry)
        return tuple(carries), inputs
