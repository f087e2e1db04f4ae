"""How a value is represented by the numbers a network puts out, and the loss that goes with it."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from memorax.types import Array


class Representation(abc.ABC):
    """A value as `shape` numbers: none for a plain value, `(N,)` for a distribution of returns.

    Value heads have one. All methods are pure and take any leading axes `[...]`: environments, time, actions.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The trailing axes of an output, `()` or `(N,)`."""

    @abc.abstractmethod
    def value(self, output: Array) -> Array:
        """The values `[...]` of outputs `[..., *shape]`; minus infinity where the output is minus infinity."""

    @abc.abstractmethod
    def loss(self, output: Array, target: Array) -> Array:
        """The loss `[...]` of outputs `[..., *shape]` against values `target` `[...]`, element by element."""

    @abc.abstractmethod
    def td_loss(self, output: Array, next_output: Array, reward: Array, discount: Array) -> Array:
        """The loss against the reward and what the successor's output, discounted, says of the rest.

        Args:
            output: `[..., *shape]`, of the step that is learned from.
            next_output: `[..., *shape]`, of its successor. No gradient flows through it.
            reward: `[...]`, the sum of the rewards between the two, discounted to the first.
            discount: `[...]`, that of the successor: gamma to the number of rewards. Where it is 0 the successor's
                output is not read and may be anything.

        Returns:
            The loss `[...]`, element by element.
        """


@dataclass(frozen=True)
class Scalar(Representation):
    """A value as itself.

    Attributes:
        huber: error at which the Huber loss turns from quadratic to linear; `None` for half the squared error.
    """

    huber: float | None = None

    def __post_init__(self) -> None:
        if self.huber is not None and self.huber <= 0:
            raise ValueError(f"huber ({self.huber}) must be positive, or None for the squared error")

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    def value(self, output: Array) -> Array:
        return output

    def loss(self, output: Array, target: Array) -> Array:
        if self.huber is None:
            return 0.5 * jnp.square(output - target)
        return optax.huber_loss(output, target, delta=self.huber)

    def td_loss(self, output: Array, next_output: Array, reward: Array, discount: Array) -> Array:
        return self.loss(output, bootstrapped(next_output, reward, discount))


def bootstrapped(next_value: Array, reward: Array, discount: Array) -> Array:
    """`reward + discount * next_value`, just `reward` where the discount is 0, without gradient; all of one shape."""
    target = jnp.where(discount == 0.0, reward, reward + discount * next_value)
    return jax.lax.stop_gradient(target)


def require_support(name: str, count: int, low: float, high: float) -> None:
    """Raise a ValueError unless a distribution has two numbers, named `name`, or more, and ends in order."""
    if count < 2:
        raise ValueError(f"{name} ({count}) must be at least 2")
    if not low < high:
        raise ValueError(f"low ({low}) must be less than high ({high})")
