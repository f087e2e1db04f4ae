"""Heads that return the values of actions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.environments.spaces import Box, Discrete, Space
from memorax.networks.heads.fit import check_fields, require_space
from memorax.networks.heads.head import check_hidden_layers, hidden_layers, legal_actions
from memorax.networks.heads.representation import Representation, Scalar
from memorax.networks.heads.value import RepresentedValueHead, value_layer
from memorax.types import Array


class DiscreteQNetwork(RepresentedValueHead):
    """The values of all actions of a `Discrete` space.

    Attributes:
        action_dim: number of actions.
        representation: representation of a value; by default the value itself, with the Huber loss of DQN.
        dueling: add a value of the timestep and advantages of the actions, less their mean over the actions (Wang et
            al., 2016, "Dueling Network Architectures for Deep Reinforcement Learning", equation 9). Of a distribution
            that mean is taken at each atom.
        hidden_features: widths of layers before the output, each of the two streams of a dueling network its own.
        layer_norm: normalise each of those layers.
        dtype: dtype of the computation.
    """

    action_dim: int
    representation: Representation = Scalar(huber=1.0)
    dueling: bool = False
    hidden_features: Sequence[int] = ()
    layer_norm: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        check_hidden_layers(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Outputs `[B, T, A, ...]`, float32: action values `[B, T, A]` unless represented otherwise."""
        shape = self.representation.shape
        if not self.dueling:
            hidden = hidden_layers(features, self.hidden_features, self.layer_norm, self.dtype)
            return value_layer(hidden, (self.action_dim, *shape), self.dtype)
        streams = [
            hidden_layers(features, self.hidden_features, self.layer_norm, self.dtype, f"{name}_hidden")
            for name in ("value", "advantage")
        ]
        value = value_layer(streams[0], (1, *shape), self.dtype, "value")  # (B, T, 1, ...)
        advantage = value_layer(streams[1], (self.action_dim, *shape), self.dtype, "advantage")  # (B, T, A, ...)
        return value + advantage - jnp.mean(advantage, axis=self._action_axis, keepdims=True)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        space = require_space(self, space, Discrete, "action-value")
        check_fields(self, space, {"action_dim": (self.action_dim, space.n)})

    @nn.nowrap
    def mask(self, output: Array, mask: Array) -> Array:
        return jnp.where(self._over_numbers(legal_actions(mask)), output, -jnp.inf)

    @nn.nowrap
    def select(self, output: Array, action: Array) -> Array:
        # A selection differentiates into a selection, a lookup would into a scatter.
        taken = self._over_numbers(jax.nn.one_hot(action, self.action_dim, dtype=bool))  # (B, T, A, ...)
        return jnp.sum(jnp.where(taken, output, 0.0), axis=self._action_axis)

    @property
    def _action_axis(self) -> int:
        return -1 - len(self.representation.shape)

    @nn.nowrap
    def _over_numbers(self, actions: Array) -> Array:
        """`[..., A]` with an axis of one for the numbers a value is represented by, where it is by several."""
        return actions.reshape(*actions.shape, *(1 for _ in self.representation.shape))


DuelingQNetwork = functools.partial(DiscreteQNetwork, dueling=True)
"""`DiscreteQNetwork` with a stream for the value of the timestep and one for the advantages of the actions."""


class ContinuousQNetwork(RepresentedValueHead):
    """The value of an action of a `Box` space.

    Attributes:
        representation: representation of the value; by default the value itself, with half the squared error as loss.
        hidden_features: widths of the layers in which features and action meet.
        layer_norm: normalise each of those layers.
        dtype: dtype of the computation.
    """

    representation: Representation = Scalar()
    hidden_features: Sequence[int] = (256,)
    layer_norm: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        check_hidden_layers(self)
        super().__post_init__()

    @property
    def takes_action(self) -> bool:
        return True

    @nn.compact
    def __call__(self, features: Array, action: Array) -> Array:
        """Outputs `[B, T, ...]`, float32, of actions `[B, T, A]`: values `[B, T]` unless represented otherwise."""
        inputs = jnp.concatenate([features, action.astype(features.dtype)], axis=-1)
        hidden = hidden_layers(inputs, self.hidden_features, self.layer_norm, self.dtype)
        return value_layer(hidden, self.representation.shape, self.dtype)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        require_space(self, space, Box, "action-value")
