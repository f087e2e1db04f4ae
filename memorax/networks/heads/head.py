"""What every head is: a module that returns a policy or values, and pure functions of its output."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.environments.spaces import Space
from memorax.networks.dense import Dense
from memorax.types import Array
from memorax.validation import require_several

# A nearly uniform first policy explores and lets the first updates decide (Andrychowicz et al., 2021, section 3.2).
POLICY_SCALE = 0.01
VALUE_SCALE = 1.0
HIDDEN_SCALE = 2.0**0.5


POLICY, STATE_VALUE, ACTION_VALUES = "a policy", "the value of a timestep", "the values of actions"
"""What heads return."""


class Head(nn.Module, abc.ABC):
    """Maps features `[B, T, F]`, and the action where `takes_action`, to a distribution or to values.

    All methods but the call are functions of the head's fields alone: they need no parameters and may be called on an
    unbound head.
    """

    @property
    def takes_action(self) -> bool:
        """Whether the head is called with actions `[B, T, ...]` besides the features."""
        return False

    @property
    def returns(self) -> str:
        """What the head returns, in words: by it a network is told whose head is another's."""
        return POLICY

    @nn.nowrap
    @abc.abstractmethod
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError of one line if the head does not fit `space`.

        Args:
            space: the action space as learning sees it: a bounded box spans -1 to 1.
        """

    @nn.nowrap
    def mask(self, output: Any, mask: Array) -> Any:
        """The head's output without what the actions that are not allowed stand for.

        Args:
            output: what the head returned.
            mask: bool `[B, T, A]`, true for the actions that are allowed; of several choices one after the other,
                `[B, T, sum(A)]`. A row, or a choice within it, that allows nothing counts as allowing everything.

        Returns:
            `output` with minus infinity as logit or value of the other actions. A head that does not tell discrete
            actions apart returns its output unchanged.
        """
        return output

    @nn.nowrap
    def numbers(self, output: Any) -> Array:
        """What the head says at each step, as float32 numbers `[B, T, N]`: to be compared and differentiated.

        By default the numbers that the output consists of, such as the logits of a policy.

        Args:
            output: what the head returned, leaves `[B, T, ...]`.
        """
        leaves = jax.tree.leaves(output)
        return jnp.concatenate([x.reshape(*x.shape[:2], -1).astype(jnp.float32) for x in leaves], axis=-1)


def legal_actions(mask: Array) -> Array:
    """`mask` `[..., A]`, with every action allowed in rows that allow none."""
    return mask | ~jnp.any(mask, axis=-1, keepdims=True)


def linear(features: int, scale: float, dtype: Any, name: str | None = None, bias: float = 0.0) -> nn.Dense:
    """A dense layer with an orthogonal kernel of the given scale and a constant bias."""
    initializers = nn.initializers.orthogonal(scale), nn.initializers.constant(bias)
    return Dense(features, kernel_init=initializers[0], bias_init=initializers[1], dtype=dtype, name=name)


def check_hidden_layers(head: Any) -> None:
    """Raise a `ValueError` where one of a head's hidden layers is normalised and has nothing to compare."""
    if head.layer_norm and head.hidden_features:
        name, widths = type(head).__name__, tuple(head.hidden_features)
        require_several(name, f"hidden_features {widths}", min(widths), "use wider layers or layer_norm=False")


def hidden_layers(
    inputs: Array, features: Sequence[int], layer_norm: bool, dtype: Any, prefix: str = "hidden"
) -> Array:
    """Dense layers with ReLU, each normalised before it if `layer_norm`; to be called in a compact method.

    Args:
        inputs: `[B, T, F]`.
        features: widths of the layers; none returns the inputs.
        layer_norm: normalise before each ReLU (Gallici et al., 2024, "Simplifying Deep Temporal Difference Learning",
            section 4: it keeps off-policy temporal-difference learning from diverging).
        dtype: dtype of the computation.
        prefix: prefix of the layers' names.
    """
    for i, width in enumerate(features):
        inputs = linear(width, HIDDEN_SCALE, dtype, f"{prefix}_{i}")(inputs)
        if layer_norm:
            inputs = nn.LayerNorm(dtype=dtype, name=f"{prefix}_norm_{i}")(inputs)
        inputs = nn.relu(inputs)
    return inputs
