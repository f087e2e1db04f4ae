"""The interface of sequence models: maps of sequences with a carry."""

from __future__ import annotations

import abc

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.types import Array, Carry, Key


class SequenceModel(nn.Module, abc.ABC):
    """A torso: maps `[B, T, F]` to `[B, T, D]` and carries what it remembers.

    A whole sequence, the same sequence in chunks and the same sequence step by step give the same outputs and
    the same final carry.
    """

    @abc.abstractmethod
    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run over a sequence.

        Args:
            inputs: `[B, T, F]`, any `T >= 1`.
            done: `[B, T]` bool, true where the input is the first of an episode: the carry is reset before that
                input is consumed.
            carry: the memory before the first input, a pytree of `[B, ...]`.

        Returns:
            `(carry, outputs)`: the memory after the last input, and `[B, T, D]`.

        Raises:
            ValueError: if the shapes do not fit together.
        """

    @nn.nowrap
    @abc.abstractmethod
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Carry:
        """The memory at the start of an episode, a pytree of `[B, ...]`; needs no parameters.

        Args:
            key: random key; the start of an episode is one fixed state, so no model draws from it.
            input_shape: `(B, F)`.
        """

    @nn.nowrap
    def output_features(self, input_shape: tuple[int, ...]) -> int:
        """The number of features of the outputs for inputs of `(B, F)`; nothing is computed.

        A model made of others asks them instead: to trace each of them anew at every level takes long where many are
        nested.
        """
        model = self.clone(parent=None)

        def run() -> Array:
            carry = model.initialize_carry(jax.random.key(0), input_shape)
            inputs, done = jnp.zeros((input_shape[0], 1, input_shape[1])), jnp.zeros((input_shape[0], 1), bool)
            (_, outputs), _ = model.init_with_output(jax.random.key(0), inputs, done, carry)
            return outputs

        return jax.eval_shape(run).shape[-1]


def check_sequence(inputs: Array, done: Array, carry: Carry) -> None:
    """Raise a `ValueError` unless `inputs` `[B, T, F]`, `done` `[B, T]` and `carry` (leaves `[B, ...]`) fit."""
    if inputs.ndim != 3 or inputs.shape[1] < 1:
        raise ValueError(f"inputs have shape {inputs.shape}, expected [B, T, F] with T at least 1")
    if done.shape != inputs.shape[:2]:
        raise ValueError(f"done has shape {done.shape}, expected {inputs.shape[:2]}: [B, T] as in the inputs")
    batch_size = inputs.shape[0]
    for leaf in jax.tree.leaves(carry):
        if leaf.shape[:1] != (batch_size,):
            raise ValueError(
                f"carry has a leaf of shape {leaf.shape}, expected a batch size of {batch_size} as in the inputs: "
                f"make it with initialize_carry(key, {(batch_size, inputs.shape[2])})"
            )
