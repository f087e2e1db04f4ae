"""Policies as distributions: those of `numpyro` with what acting and learning need besides.

Each has `sample(key)`, `log_prob(action)`, `entropy()` and `mode`. The batch shape is read off the parameters, so that
a distribution may leave `jax.vmap` or `jax.lax.scan` with further leading axes. Parameters are not validated, since
that would behave differently inside and outside of compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution, constraints

from memorax.types import Array, Key

# Beyond this the inverse hyperbolic tangent is lost to the rounding of float32 and its gradient overflows.
LARGEST_TANH = 1.0 - 1e-6


class Categorical(Distribution):
    """One of `A` actions.

    Args:
        logits: `[..., A]`; minus infinity for an action that is never taken.
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012

    def __init__(self, logits: Array) -> None:
        self.logits = logits
        super().__init__(jnp.shape(logits)[:-1], validate_args=False)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.logits)[:-1]

    @property
    def mode(self) -> Array:
        """The most probable action `[...]`, int32."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw actions `[*sample_shape, ...]`, int32."""
        return jax.random.categorical(key, self.logits, shape=(*sample_shape, *self.batch_shape)).astype(jnp.int32)

    def log_prob(self, value: Array) -> Array:
        """Log-probability of the actions `value` `[...]`."""
        log_probs = _with_axes(jax.nn.log_softmax(self.logits), jnp.ndim(value) + 1)
        # A selection differentiates into a selection, a lookup would into a scatter.
        chosen = jax.nn.one_hot(value, log_probs.shape[-1], dtype=bool)
        return jnp.sum(jnp.where(chosen, log_probs, 0.0), axis=-1)

    def entropy(self) -> Array:
        """`-sum p log p`, where an impossible action counts nothing."""
        log_probs = jax.nn.log_softmax(self.logits)
        possible = jnp.isfinite(log_probs)
        return -jnp.sum(jnp.exp(log_probs) * jnp.where(possible, log_probs, 0.0), axis=-1)


class MultiCategorical(Distribution):
    """Several independent choices side by side.

    Args:
        logits: those of every choice, one after the other, `[..., sum(action_dims)]`.
        action_dims: how many actions each choice has.
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012
    pytree_aux_fields = ("action_dims",)

    def __init__(self, logits: Array, action_dims: Sequence[int]) -> None:
        self.logits = logits
        self.action_dims = tuple(action_dims)
        super().__init__(jnp.shape(logits)[:-1], (len(self.action_dims),), validate_args=False)

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


class DiagonalGaussian(Distribution):
    """A vector of independent normal variables.

    Args:
        loc: means, `[..., A]`.
        log_scale: logarithms of the standard deviations, `[..., A]`.
    """

    arg_constraints = {"loc": constraints.real_vector, "log_scale": constraints.real_vector}  # noqa: RUF012
    reparametrized_params = ["loc", "log_scale"]  # noqa: RUF012

    def __init__(self, loc: Array, log_scale: Array) -> None:
        self.loc = loc
        self.log_scale = log_scale
        super().__init__(jnp.shape(loc)[:-1], jnp.shape(loc)[-1:], validate_args=False)

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


class SquashedDiagonalGaussian(Distribution):
    """A vector of independent normal variables, squashed by tanh and stretched over `low ... high`.

    The density is that of Haarnoja et al. (2018, Soft Actor-Critic, appendix C).

    Args:
        loc: means before squashing, `[..., A]`.
        log_scale: logarithms of the standard deviations before squashing, `[..., A]`.
        low: lower bounds, `[..., A]`.
        high: upper bounds, `[..., A]`.
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real_vector,
        "log_scale": constraints.real_vector,
        "low": constraints.real_vector,
        "high": constraints.real_vector,
    }
    reparametrized_params = ["loc", "log_scale", "low", "high"]  # noqa: RUF012

    def __init__(self, loc: Array, log_scale: Array, low: Array, high: Array) -> None:
        self.loc = loc
        self.log_scale = log_scale
        self.low = low
        self.high = high
        super().__init__(jnp.shape(loc)[:-1], jnp.shape(loc)[-1:], validate_args=False)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.loc)[:-1]

    @property
    def mode(self) -> Array:
        """The squashed mean, `[..., A]`: what SAC acts by when it does not explore."""
        return self._squash(self.loc)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw `[*sample_shape, ..., A]`, differentiable by the parameters."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    def sample_with_intermediates(self, key: Key, sample_shape: tuple[int, ...] = ()) -> tuple[Array, list[Array]]:
        """`sample`, and with it the values before squashing, which `log_prob` need not recover if it is given them."""
        unsquashed = DiagonalGaussian(self.loc, self.log_scale).sample(key, sample_shape)
        return self._squash(unsquashed), [unsquashed]

    def log_prob(self, value: Array, intermediates: Sequence[Array] | None = None) -> Array:
        """Log-density of `value` `[..., A]`.

        Args:
            value: an action. At and next to the bounds, where float32 cannot tell actions apart, it counts as
                `LARGEST_TANH` of the way there.
            intermediates: what `sample_with_intermediates` returned beside `value`; exact at the bounds too.
        """
        (unsquashed,) = intermediates or [self._unsquash(value)]
        log_density = _normal_log_density(unsquashed, self.loc, self.log_scale)
        return jnp.sum(log_density - self._log_stretch(unsquashed), axis=-1)

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
        return DiagonalGaussian(self.loc, self.log_scale).entropy() + jnp.sum(mean, axis=-1)

    def _squash(self, unsquashed: Array) -> Array:
        low, high = _with_axes(self.low, unsquashed.ndim), _with_axes(self.high, unsquashed.ndim)
        # Weights that are exactly 0 and 1 where tanh saturates, so that no rounding leaves the bounds.
        weight = 0.5 + 0.5 * jnp.tanh(unsquashed)
        return (1.0 - weight) * low + weight * high

    def _unsquash(self, value: Array) -> Array:
        low, high = _with_axes(self.low, jnp.ndim(value)), _with_axes(self.high, jnp.ndim(value))
        squashed = 2.0 * (value - low) / (high - low) - 1.0
        return jnp.arctanh(jnp.clip(squashed, -LARGEST_TANH, LARGEST_TANH))

    def _log_stretch(self, unsquashed: Array) -> Array:
        """Logarithm of the derivative of `_squash`; `log(1 - tanh(x)^2)` in the form that does not cancel."""
        log_slope = 2.0 * (math.log(2.0) - unsquashed - jax.nn.softplus(-2.0 * unsquashed))
        return log_slope + _with_axes(jnp.log(0.5 * (self.high - self.low)), unsquashed.ndim)


def _normal_log_density(value: Array, loc: Array, log_scale: Array) -> Array:
    loc, log_scale = _with_axes(loc, jnp.ndim(value)), _with_axes(log_scale, jnp.ndim(value))
    standardised = (value - loc) * jnp.exp(-log_scale)
    return -0.5 * jnp.square(standardised) - log_scale - 0.5 * math.log(2 * math.pi)


def _with_axes(parameter: Array, ndim: int) -> Array:
    """A parameter with leading axes of one, `ndim` in all: what is drawn may have more axes than the parameters."""
    return jnp.expand_dims(parameter, tuple(range(ndim - jnp.ndim(parameter))))
