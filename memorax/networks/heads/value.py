"""Heads that return values, and what they have in common: each answers for its own value and loss."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from memorax.environments.spaces import Space
from memorax.networks.heads.head import (
    ACTION_VALUES,
    STATE_VALUE,
    VALUE_SCALE,
    Head,
    check_hidden_layers,
    hidden_layers,
    linear,
)
from memorax.networks.heads.representation import Representation, Scalar
from memorax.types import Array


class ValueHead(Head):
    """A head whose output, a pytree with leaves `[B, T, ...]`, stands for values.

    An algorithm reads the output by these four methods alone, so that plain values, distributions of returns and twins
    take the same path:

        successor = head.select(next_target_output, jnp.argmax(head.value(next_output), axis=-1))
        loss = head.td_loss(head.select(output, action), successor, reward, discount)
    """

    @property
    def returns(self) -> str:
        return ACTION_VALUES

    @nn.nowrap
    @abc.abstractmethod
    def value(self, output: Any) -> Array:
        """The values that an output stands for: `[B, T]`, or `[B, T, A]` of a head that has all actions' values."""

    @nn.nowrap
    def numbers(self, output: Any) -> Array:
        """The values that an output stands for, `[B, T, N]`; see `Head.numbers`."""
        return super().numbers(self.value(output))

    @nn.nowrap
    def select(self, output: Any, action: Array) -> Any:
        """The output of the actions taken.

        Args:
            output: `[B, T, A, ...]`, or `[B, T, ...]` of a head that knows no other action.
            action: `[B, T]`, the actions taken.

        Returns:
            `[B, T, ...]`. What the other actions have, infinities and NaN included, reaches neither it nor its
            gradient.
        """
        return output

    @nn.nowrap
    @abc.abstractmethod
    def loss(self, selected: Any, target: Array) -> Array:
        """The loss `[B, T]` of the selected output `[B, T, ...]` against values `target` `[B, T]`."""

    @nn.nowrap
    @abc.abstractmethod
    def td_loss(self, selected: Any, next_selected: Any, reward: Array, discount: Array) -> Array:
        """The loss against `reward` and the successor's output, discounted.

        Args:
            selected: `[B, T, ...]`, the output of the action taken.
            next_selected: `[B, T, ...]`, that of the successor's action. No gradient flows through it.
            reward: `[B, T]`, the sum of the rewards between the two, discounted to the first.
            discount: `[B, T]`, that of the successor: gamma to the number of rewards. Where it is 0 the successor's
                output is not read and may be anything.

        Returns:
            The loss `[B, T]`, element by element.
        """


class RepresentedValueHead(ValueHead):
    """A value head with a `representation`, which says what its output means."""

    @property
    @abc.abstractmethod
    def representation(self) -> Representation:
        """How a value is represented by the numbers of the output."""

    @nn.nowrap
    def value(self, output: Array) -> Array:
        return self.representation.value(output)

    @nn.nowrap
    def loss(self, selected: Array, target: Array) -> Array:
        return self.representation.loss(selected, target)

    @nn.nowrap
    def td_loss(self, selected: Array, next_selected: Array, reward: Array, discount: Array) -> Array:
        return self.representation.td_loss(selected, next_selected, reward, discount)


def value_layer(features: Array, shape: tuple[int, ...], dtype: Any, name: str | None = None) -> Array:
    """A dense layer from `[B, T, F]` to float32 `[B, T, *shape]`; to be called in a compact method."""
    outputs = linear(math.prod(shape), VALUE_SCALE, dtype, name)(features).astype(jnp.float32)
    return outputs.reshape(*features.shape[:-1], *shape)


class VNetwork(RepresentedValueHead):
    """The value of a timestep.

    Attributes:
        representation: representation of the value; by default the value itself, with half the squared error as loss.
        hidden_features: widths of layers before the output.
        layer_norm: normalise each of those layers.
        dtype: dtype of the computation.
    """

    representation: Representation = Scalar()
    hidden_features: Sequence[int] = ()
    layer_norm: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        check_hidden_layers(self)
        super().__post_init__()

    @property
    def returns(self) -> str:
        return STATE_VALUE

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Outputs `[B, T, ...]`, float32: values `[B, T]` unless represented otherwise."""
        hidden = hidden_layers(features, self.hidden_features, self.layer_norm, self.dtype)
        return value_layer(hidden, self.representation.shape, self.dtype)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Do nothing: the value of a timestep fits every action space."""


class HordeHead(RepresentedValueHead):
    """Answers to several questions about the future at once, general value functions (Sutton et al., 2011, "Horde").

    A question has its own cumulant in place of the reward and its own discount. So `loss` and `td_loss` take targets,
    rewards and discounts `[B, T, Q]` and return `[B, T, Q]`, and `value` is `[B, T, Q]`.

    Attributes:
        num_questions: number of questions.
        representation: representation of an answer; by default the value itself, with half the squared error as loss.
        hidden_features: widths of layers before the output, which all questions share.
        layer_norm: normalise each of those layers.
        dtype: dtype of the computation.
    """

    num_questions: int
    representation: Representation = Scalar()
    hidden_features: Sequence[int] = ()
    layer_norm: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        check_hidden_layers(self)
        super().__post_init__()

    @property
    def returns(self) -> str:
        return STATE_VALUE

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Outputs `[B, T, Q, ...]`, float32: answers `[B, T, Q]` unless represented otherwise."""
        hidden = hidden_layers(features, self.hidden_features, self.layer_norm, self.dtype)
        return value_layer(hidden, (self.num_questions, *self.representation.shape), self.dtype)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Do nothing: questions about the future fit every action space."""
