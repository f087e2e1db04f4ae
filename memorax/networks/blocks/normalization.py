"""Normalisation before (PreNorm) or after (PostNorm) a model."""

from __future__ import annotations

import dataclasses

import flax.linen as nn

from memorax.networks.blocks.block import Block
from memorax.networks.sequence_models.sequence_model_wrapper import check_norm
from memorax.types import Array, Carry


class PreNorm(Block):
    """`model(norm(x))` (Xiong et al., 2020, "On Layer Normalization in the Transformer Architecture", Table 1).

    Attributes:
        model: module that gets normalised inputs; `Residual(PreNorm(model))` keeps a path that nothing normalises.
        norm: normalises each step by itself.
    """

    norm: nn.Module = dataclasses.field(default_factory=nn.LayerNorm)

    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run over a sequence; see `SequenceModel`.

        Raises:
            ValueError: if a `LayerNorm` is given a single feature, of which it leaves nothing.
        """
        check_norm(self.norm, inputs)
        return self.model(self.norm(inputs), done, carry)

    @nn.nowrap
    def output_features(self, input_shape: tuple[int, ...]) -> int:
        """Those of the model."""
        return self.model.output_features(input_shape)


class PostNorm(Block):
    """`norm(model(x))`; `PostNorm(Residual(model))` is the layer of Vaswani et al. (2017, Section 3.1).

    Attributes:
        model: module whose outputs are normalised.
        norm: normalises each step by itself.
    """

    norm: nn.Module = dataclasses.field(default_factory=nn.LayerNorm)

    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run over a sequence; see `SequenceModel`.

        Raises:
            ValueError: if a `LayerNorm` is given a single feature, of which it leaves nothing.
        """
        carry, outputs = self.model(inputs, done, carry)
        check_norm(self.norm, outputs)
        return carry, self.norm(outputs)

    @nn.nowrap
    def output_features(self, input_shape: tuple[int, ...]) -> int:
        """Those of the model."""
        return self.model.output_features(input_shape)
