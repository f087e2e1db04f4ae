"""A distribution of returns over fixed atoms."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.heads.representation import Representation, require_support
from memorax.types import Array


@dataclass(frozen=True)
class C51(Representation):
    """Probabilities of equally spaced atoms, given as logits (Bellemare et al., 2017, "A Distributional Perspective").

    The loss against a value is the cross entropy with the two atoms that enclose it, in the proportion that has the
    value as its mean. The loss against a successor is that with its distribution, discounted, shifted by the reward
    and projected onto the atoms (algorithm 1).

    Attributes:
        num_atoms: number of atoms.
        low: the first atom. Values below it count as it.
        high: the last atom, likewise.
    """

    num_atoms: int = 51
    low: float = -10.0
    high: float = 10.0

    def __post_init__(self) -> None:
        require_support("num_atoms", self.num_atoms, self.low, self.high)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.num_atoms,)

    @property
    def atoms(self) -> np.ndarray:
        """The atoms `[N]`."""
        return np.linspace(self.low, self.high, self.num_atoms, dtype=np.float32)

    def value(self, output: Array) -> Array:
        return expectation(output, self.atoms)

    def loss(self, output: Array, target: Array) -> Array:
        certain = jnp.ones((*target.shape, 1))
        return cross_entropy(self.project(certain, target[..., None]), output)

    def td_loss(self, output: Array, next_output: Array, reward: Array, discount: Array) -> Array:
        reward, discount = reward[..., None], discount[..., None]
        # Behind an end all atoms lie at the reward, so that any distribution does: all on the first.
        first = jnp.where(np.arange(self.num_atoms) == 0, 0.0, -jnp.inf).reshape(_axes(next_output))
        probabilities = jax.nn.softmax(jnp.where(discount == 0.0, first, next_output))
        returns = reward + discount * self.atoms.reshape(_axes(next_output))  # (..., N)
        return cross_entropy(self.project(probabilities, returns), output)

    def project(self, probabilities: Array, returns: Array) -> Array:
        """The distribution over the atoms that has the mean of another one, as far as that lies between the ends.

        Args:
            probabilities: `[..., M]`.
            returns: `[..., M]`, where they lie.

        Returns:
            Probabilities `[..., N]`, without gradient.
        """
        spacing = (self.high - self.low) / (self.num_atoms - 1)
        position = (jnp.clip(returns, self.low, self.high) - self.low) / spacing  # (..., M), in units of atoms
        atom = np.arange(self.num_atoms, dtype=np.float32).reshape(*(1 for _ in position.shape), -1)
        # All pairs, as a reduction that is never stored: adding at indices is not the same from run to run on a GPU.
        share = jnp.maximum(1.0 - jnp.abs(position[..., None] - atom), 0.0)  # (..., M, N)
        return jax.lax.stop_gradient(jnp.sum(share * probabilities[..., None], axis=-2))


def expectation(logits: Array, atoms: np.ndarray) -> Array:
    """The mean `[...]` of a distribution over `atoms` `[N]`; minus infinity where all logits `[..., N]` are that."""
    masked = jnp.all(jnp.isneginf(logits), axis=-1)  # an action that is not allowed
    probabilities = jax.nn.softmax(jnp.where(masked[..., None], 0.0, logits))
    mean = jnp.sum(probabilities * atoms.reshape(_axes(logits)), axis=-1)
    return jnp.where(masked, -jnp.inf, mean)


def cross_entropy(probabilities: Array, logits: Array) -> Array:
    """`-sum p log q` `[...]` of probabilities and logits `[..., N]`."""
    return -jnp.sum(probabilities * jax.nn.log_softmax(logits), axis=-1)


def _axes(output: Array) -> tuple[int, ...]:
    """The shape in which atoms `[N]` meet `output` `[..., N]`."""
    return (*(1 for _ in output.shape[:-1]), output.shape[-1])
