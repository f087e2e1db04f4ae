"""Distributions over actions, which policies return: sample, log-probability, entropy, mode.

The batch shape is read off the parameters, so that a distribution, which is a pytree of them, may leave `jax.vmap` or
`jax.lax.scan` with further leading axes. Parameters are not validated, since that would behave differently inside and
outside of compiled code.
"""

from __future__ import annotations

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.scipy.special import betaln, digamma

from memorax.types import Array, Key

# Beyond this the inverse hyperbolic tangent is lost to the rounding of float32 and its gradient overflows.
LARGEST_TANH = 1.0 - 1e-6


class Distribution(struct.PyTreeNode, abc.ABC):
    """A distribution over actions, with parameters and therefore a batch of leading axes `[...]`."""

    @property
    @abc.abstractmethod
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes of the parameters."""

    @property
    @abc.abstractmethod
    def mode(self) -> Array:
        """The action taken without exploration, `[..., *action]`."""

    @abc.abstractmethod
    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw actions `[*sample_shape, ..., *action]`; continuous ones are differentiable by the parameters."""

    @abc.abstractmethod
    def log_prob(self, value: Array) -> Array:
        """Log-probability, or density, `[...]` of the actions `value` `[..., *action]`."""

    @abc.abstractmethod
    def entropy(self) -> Array:
        """The entropy `[...]`."""

    @abc.abstractmethod
    def target_entropy(self, scale: float = 1.0) -> Array:
        """The entropy `[...]` that a temperature may aim for (Haarnoja et al., 2018; Christodoulou, 2019).

        Args:
            scale: of discrete actions, the fraction of the largest entropy there can be, the logarithm of the number
                of possible actions. Of continuous actions, how far below 0 the entropy of each number lies if bounds
                are -1 and 1; bounds further apart allow for more.
        """

    def sample_and_log_prob(self, key: Key, sample_shape: tuple[int, ...] = ()) -> tuple[Array, Array]:
        """What `sample` draws and its log-probability, exact even where an action is rounded to a bound."""
        action = self.sample(key, sample_shape)
        return action, self.log_prob(action)


class Categorical(Distribution):
    """One of `A` actions.

    Args:
        logits: `[..., A]`; minus infinity for an action that is never taken.
    """

    logits: Array

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.logits)[:-1]

    @property
    def mode(self) -> Array:
        """The most probable action `[...]`, int32."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    @property
    def possible(self) -> Array:
        """Whether an action can be drawn at all, bool `[..., A]`."""
        return ~jnp.isneginf(self.logits)

    @property
    def log_probs(self) -> Array:
        """Log-probabilities of all actions, `[..., A]`; minus infinity of those that are never taken."""
        return jax.nn.log_softmax(self.logits)

    @property
    def probs(self) -> Array:
        """Probabilities of all actions, `[..., A]`."""
        return jnp.exp(self.log_probs)

    def expectation(self, values: Array) -> Array:
        """The mean `[...]` of `values` `[..., A]` of the actions; those never taken count nothing, whatever theirs are.

        Neither their infinities and NaN nor their gradients reach the mean, as 0 times infinity would.
        """
        return jnp.sum(self.probs * jnp.where(self.possible, values, 0.0), axis=-1)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw actions `[*sample_shape, ...]`, int32."""
        return jax.random.categorical(key, self.logits, shape=(*sample_shape, *self.batch_shape)).astype(jnp.int32)

    def log_prob(self, value: Array) -> Array:
        """Log-probability of the actions `value` `[...]`; minus infinity of what is none of them."""
        log_probs = _with_axes(self.log_probs, jnp.ndim(value) + 1)
        # A selection differentiates into a selection, a lookup would into a scatter.
        chosen = jax.nn.one_hot(value, log_probs.shape[-1], dtype=bool)
        log_prob = jnp.sum(jnp.where(chosen, log_probs, 0.0), axis=-1)
        return jnp.where((value >= 0) & (value < log_probs.shape[-1]), log_prob, -jnp.inf)

    def entropy(self) -> Array:
        """`-sum p log p`, where an impossible action counts nothing."""
        return -self.expectation(self.log_probs)

    def target_entropy(self, scale: float = 1.0) -> Array:
        return scale * jnp.log(jnp.sum(self.possible, axis=-1, dtype=jnp.float32))


class MultiCategorical(Distribution):
    """Several independent choices side by side.

    Args:
        logits: logits of every choice, one after the other, `[..., sum(action_dims)]`.
        action_dims: number of actions of each choice.
    """

    logits: Array
    action_dims: tuple[int, ...] = struct.field(pytree_node=False)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.logits)[:-1]

    @property
    def choices(self) -> list[Categorical]:
        """The choices one by one."""
        offsets = np.cumsum(self.action_dims)[:-1]
        return [Categorical(logits) for logits in jnp.split(self.logits, offsets, axis=-1)]

    @property
    def mode(self) -> Array:
        """The most probable actions `[..., len(action_dims)]`, int32."""
        return jnp.stack([choice.mode for choice in self.choices], axis=-1)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw actions `[*sample_shape, ..., len(action_dims)]`, int32."""
        keys = jax.random.split(key, len(self.action_dims))
        draws = [choice.sample(k, sample_shape) for k, choice in zip(keys, self.choices, strict=True)]
        return jnp.stack(draws, axis=-1)

    def log_prob(self, value: Array) -> Array:
        """Log-probability of the actions `value` `[..., len(action_dims)]`, all together."""
        log_probs = [choice.log_prob(value[..., i]) for i, choice in enumerate(self.choices)]
        return jnp.sum(jnp.stack(log_probs, axis=-1), axis=-1)

    def entropy(self) -> Array:
        """The sum of the choices' entropies."""
        return jnp.sum(jnp.stack([choice.entropy() for choice in self.choices], axis=-1), axis=-1)

    def target_entropy(self, scale: float = 1.0) -> Array:
        return jnp.sum(jnp.stack([choice.target_entropy(scale) for choice in self.choices], axis=-1), axis=-1)


class DiagonalGaussian(Distribution):
    """A vector of independent normal variables.

    Args:
        loc: means, `[..., A]`.
        log_scale: logarithms of the standard deviations, `[..., A]`.
    """

    loc: Array
    log_scale: Array

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.loc)[:-1]

    @property
    def mode(self) -> Array:
        """The mean, `[..., A]`."""
        return self.loc

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw `[*sample_shape, ..., A]`, differentiable by the parameters."""
        noise = jax.random.normal(key, (*sample_shape, *jnp.shape(self.loc)), self.loc.dtype)
        return _with_axes(self.loc, noise.ndim) + _with_axes(jnp.exp(self.log_scale), noise.ndim) * noise

    def log_prob(self, value: Array) -> Array:
        """Log-density of `value` `[..., A]`."""
        return jnp.sum(_normal_log_density(value, self.loc, self.log_scale), axis=-1)

    def entropy(self) -> Array:
        """`sum(1/2 log(2 pi e) + log_scale)`."""
        return jnp.sum(0.5 * math.log(2 * math.pi * math.e) + self.log_scale, axis=-1)

    def target_entropy(self, scale: float = 1.0) -> Array:
        return jnp.full(self.batch_shape, -scale * self.loc.shape[-1])


class SquashedDiagonalGaussian(Distribution):
    """A vector of independent normal variables, squashed by tanh and stretched over `low ... high`.

    The density is that of Haarnoja et al. (2018, Soft Actor-Critic, appendix C).

    Args:
        loc: means before squashing, `[..., A]`.
        log_scale: logarithms of the standard deviations before squashing, `[..., A]`.
        low: lower bounds, `[..., A]`.
        high: upper bounds, `[..., A]`, greater than the lower ones.
    """

    loc: Array
    log_scale: Array
    low: Array
    high: Array

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.loc)[:-1]

    @property
    def mode(self) -> Array:
        """The squashed mean, `[..., A]`: what SAC acts by when it does not explore."""
        return self._squash(self.loc)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw `[*sample_shape, ..., A]`, differentiable by the parameters."""
        return self._squash(self._unsquashed.sample(key, sample_shape))

    def sample_and_log_prob(self, key: Key, sample_shape: tuple[int, ...] = ()) -> tuple[Array, Array]:
        unsquashed = self._unsquashed.sample(key, sample_shape)
        return self._squash(unsquashed), self._log_density(unsquashed)

    def log_prob(self, value: Array) -> Array:
        """Log-density of `value` `[..., A]`.

        At and next to the bounds, where float32 cannot tell actions apart, an action counts as `LARGEST_TANH` of the
        way there.
        """
        low, high = _with_axes(self.low, jnp.ndim(value)), _with_axes(self.high, jnp.ndim(value))
        squashed = 2.0 * (value - low) / (high - low) - 1.0
        return self._log_density(jnp.arctanh(jnp.clip(squashed, -LARGEST_TANH, LARGEST_TANH)))

    def entropy(self) -> Array:
        """Entropy of the Gaussian plus the mean logarithm of how much squashing stretches.

        That mean has no closed form; it is integrated by the trapezoidal rule over five standard deviations either
        side (error per action below 1e-3 for `log_scale` up to 1, below 1e-2 up to 2).
        """
        nodes = np.linspace(-5.0, 5.0, 33, dtype=np.float32)
        density = np.exp(-0.5 * np.square(nodes))

        def log_stretch(node: Array) -> Array:
            return self._log_stretch(self.loc + jnp.exp(self.log_scale) * node)

        mean = jnp.average(jax.vmap(log_stretch)(jnp.asarray(nodes)), axis=0, weights=jnp.asarray(density))
        return self._unsquashed.entropy() + jnp.sum(mean, axis=-1)

    def target_entropy(self, scale: float = 1.0) -> Array:
        return _bounded_target_entropy(self.low, self.high, scale)

    @property
    def _unsquashed(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.loc, self.log_scale)

    def _squash(self, unsquashed: Array) -> Array:
        # Weights that are exactly 0 and 1 where tanh saturates, so that no rounding leaves the bounds.
        return _between(0.5 + 0.5 * jnp.tanh(unsquashed), self.low, self.high)

    def _log_density(self, unsquashed: Array) -> Array:
        """Log-density `[...]` of the action that the values `[..., A]` are squashed to."""
        log_density = _normal_log_density(unsquashed, self.loc, self.log_scale)
        return jnp.sum(log_density - self._log_stretch(unsquashed), axis=-1)

    def _log_stretch(self, unsquashed: Array) -> Array:
        """Logarithm of the derivative of `_squash`; `log(1 - tanh(x)^2)` in the form that does not cancel."""
        log_slope = 2.0 * (math.log(2.0) - unsquashed - jax.nn.softplus(-2.0 * unsquashed))
        return log_slope + _with_axes(jnp.log(0.5 * (self.high - self.low)), unsquashed.ndim)


class Beta(Distribution):
    """A vector of independent Beta variables, stretched over `low ... high` (Chou et al., 2017).

    Args:
        alpha: the first concentrations, `[..., A]`, at least 1.
        beta: the second concentrations likewise.
        low: lower bounds, `[..., A]`.
        high: upper bounds, `[..., A]`, greater than the lower ones.
    """

    alpha: Array
    beta: Array
    low: Array
    high: Array

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.alpha)[:-1]

    @property
    def mode(self) -> Array:
        """The most probable action `[..., A]`, the middle where all are alike."""
        flat = self.alpha + self.beta <= 2.0
        weight = (self.alpha - 1.0) / jnp.where(flat, 1.0, self.alpha + self.beta - 2.0)
        return _between(jnp.where(flat, 0.5, weight), self.low, self.high)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw `[*sample_shape, ..., A]`, differentiable by the parameters."""
        return _between(jax.nn.sigmoid(self._sample_logit(key, sample_shape)), self.low, self.high)

    def sample_and_log_prob(self, key: Key, sample_shape: tuple[int, ...] = ()) -> tuple[Array, Array]:
        logit = self._sample_logit(key, sample_shape)
        return _between(jax.nn.sigmoid(logit), self.low, self.high), self._log_density(logit)

    def log_prob(self, value: Array) -> Array:
        """Log-density of `value` `[..., A]`; next to the bounds an action counts as `LARGEST_TANH` of the way there."""
        low, high = _with_axes(self.low, jnp.ndim(value)), _with_axes(self.high, jnp.ndim(value))
        centred = 2.0 * (value - low) / (high - low) - 1.0
        return self._log_density(2.0 * jnp.arctanh(jnp.clip(centred, -LARGEST_TANH, LARGEST_TANH)))

    def entropy(self) -> Array:
        """The sum of the entropies of the variables, in closed form."""
        alpha, beta = self.alpha, self.beta
        unit = betaln(alpha, beta) - (alpha - 1.0) * digamma(alpha) - (beta - 1.0) * digamma(beta)
        unit = unit + (alpha + beta - 2.0) * digamma(alpha + beta)
        return jnp.sum(unit + jnp.log(self.high - self.low), axis=-1)

    def target_entropy(self, scale: float = 1.0) -> Array:
        return _bounded_target_entropy(self.low, self.high, scale)

    def _sample_logit(self, key: Key, sample_shape: tuple[int, ...]) -> Array:
        """`log(x) - log(1 - x)` of draws x between 0 and 1: a ratio of two Gamma variables."""
        keys, shape = jax.random.split(key), (*sample_shape, *jnp.shape(self.alpha))
        logarithms = [jax.random.loggamma(k, x, shape) for k, x in zip(keys, (self.alpha, self.beta), strict=True)]
        return logarithms[0] - logarithms[1]

    def _log_density(self, logit: Array) -> Array:
        """Log-density `[...]` of the actions whose place between the bounds has the logits `[..., A]`."""
        alpha, beta = _with_axes(self.alpha, logit.ndim), _with_axes(self.beta, logit.ndim)
        log_density = (alpha - 1.0) * jax.nn.log_sigmoid(logit) + (beta - 1.0) * jax.nn.log_sigmoid(-logit)
        log_stretch = _with_axes(jnp.log(self.high - self.low), logit.ndim)
        return jnp.sum(log_density - betaln(alpha, beta) - log_stretch, axis=-1)


def _normal_log_density(value: Array, loc: Array, log_scale: Array) -> Array:
    loc, log_scale = _with_axes(loc, jnp.ndim(value)), _with_axes(log_scale, jnp.ndim(value))
    standardised = (value - loc) * jnp.exp(-log_scale)
    return -0.5 * jnp.square(standardised) - log_scale - 0.5 * math.log(2 * math.pi)


def _between(weight: Array, low: Array, high: Array) -> Array:
    """What lies `weight` of the way from `low` to `high`, never beyond either."""
    low, high = _with_axes(low, weight.ndim), _with_axes(high, weight.ndim)
    return (1.0 - weight) * low + weight * high


def _bounded_target_entropy(low: Array, high: Array, scale: float) -> Array:
    return jnp.sum(jnp.log(0.5 * (high - low)) - scale, axis=-1)


def _with_axes(parameter: Array, ndim: int) -> Array:
    """A parameter with leading axes of one, `ndim` in all: what is drawn may have more axes than the parameters."""
    return jnp.expand_dims(parameter, tuple(range(ndim - jnp.ndim(parameter))))
