"""Distributions against scipy and quadrature, at the bounds, and on the other side of `vmap` and `scan`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from memorax.networks.distributions import (
    Beta,
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
    SquashedDiagonalGaussian,
)
from memorax.testing import check_close

BATCH, STEPS = 3, 4


def normal(seed: int, *shape: int):
    return jax.random.normal(jax.random.key(seed), shape)


def squashed(loc, log_scale, low=-2.0, high=3.0):
    loc, log_scale = jnp.asarray(loc, jnp.float32), jnp.asarray(log_scale, jnp.float32)
    return SquashedDiagonalGaussian(loc, log_scale, jnp.full_like(loc, low), jnp.full_like(loc, high))


def beta(alpha, beta, low=-2.0, high=3.0):
    alpha, beta = jnp.asarray(alpha, jnp.float32), jnp.asarray(beta, jnp.float32)
    return Beta(alpha, beta, jnp.full_like(alpha, low), jnp.full_like(alpha, high))


DISTRIBUTIONS = {
    "categorical": lambda *lead: Categorical(normal(0, *lead, 5)),
    "multi_categorical": lambda *lead: MultiCategorical(normal(0, *lead, 5), (2, 3)),
    "gaussian": lambda *lead: DiagonalGaussian(normal(0, *lead, 2), 0.3 * normal(1, *lead, 2)),
    "squashed_gaussian": lambda *lead: squashed(normal(0, *lead, 2), 0.3 * normal(1, *lead, 2)),
    "beta": lambda *lead: beta(1.0 + jnp.exp(normal(0, *lead, 2)), 1.0 + jnp.exp(normal(1, *lead, 2))),
}


@functools.partial(jax.jit, static_argnums=1)
def draw(distribution, sample_shape=()):
    action = distribution.sample(jax.random.key(0), sample_shape)
    return action, distribution.log_prob(action), distribution.entropy(), distribution.mode


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_shapes(name):
    distribution = DISTRIBUTIONS[name](BATCH, STEPS)
    action, log_prob, entropy, mode = draw(distribution)
    event_shape = () if name == "categorical" else (2,)
    assert distribution.batch_shape == (BATCH, STEPS)
    assert action.shape == mode.shape == (BATCH, STEPS, *event_shape)
    assert action.dtype == mode.dtype == (jnp.int32 if "categorical" in name else jnp.float32)
    assert log_prob.shape == entropy.shape == (BATCH, STEPS)
    actions, log_probs, _, _ = draw(distribution, (7,))
    assert (actions.shape, log_probs.shape) == ((7, BATCH, STEPS, *event_shape), (7, BATCH, STEPS))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_distribution_passes_through_jit_vmap_and_scan(name):
    """What comes out with a further axis is the distribution with that axis."""
    whole = DISTRIBUTIONS[name](BATCH, STEPS)
    mapped = jax.jit(jax.vmap(lambda distribution: distribution))(whole)
    _, scanned = jax.jit(lambda d: jax.lax.scan(lambda _, step: (None, step), None, d))(whole)
    for distribution in (mapped, scanned):
        assert distribution.batch_shape == (BATCH, STEPS)
        jax.tree.map(np.testing.assert_array_equal, draw(distribution), draw(whole))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_samples_have_the_entropy_they_should(name):
    """The mean of `-log_prob` over samples is the entropy."""
    _, log_probs, entropy, _ = map(np.asarray, draw(DISTRIBUTIONS[name](BATCH), (20_000,)))
    error = 4 * log_probs.std(axis=0) / np.sqrt(20_000)
    assert (np.abs(-log_probs.mean(axis=0) - entropy) < error + 1e-3).all()


def test_categorical():
    logits = np.asarray(normal(3, BATCH, 5), np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    distribution = Categorical(jnp.asarray(logits, jnp.float32))
    action = jnp.array([4, 0, 2])
    np.testing.assert_allclose(
        distribution.log_prob(action), np.log(probabilities[np.arange(BATCH), action]), rtol=1e-5
    )
    np.testing.assert_allclose(distribution.entropy(), scipy.stats.entropy(probabilities, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(distribution.mode, logits.argmax(axis=-1))
    samples = np.asarray(draw(distribution, (20_000,))[0])
    counts = np.stack([np.bincount(samples[:, i], minlength=5) for i in range(BATCH)])
    np.testing.assert_allclose(counts / 20_000, probabilities, atol=0.02)


def test_an_impossible_action_has_no_part_in_entropy_or_gradient():
    logits = jnp.array([0.0, -jnp.inf, 0.0])

    def loss(logits):
        distribution = Categorical(logits)
        return distribution.entropy() + distribution.log_prob(jnp.array(0))

    np.testing.assert_allclose(Categorical(logits).entropy(), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(logits), [0.5, 0.0, -0.5], atol=1e-6)
    assert (Categorical(logits).sample(jax.random.key(0), (1000,)) != 1).all()


def test_an_action_that_is_not_there_has_no_probability_and_no_gradient():
    logits = jnp.array([0.0, -jnp.inf, 0.0])
    actions = jnp.array([0, 2, -1, 3, 1])
    expected = [-np.log(2), -np.log(2), -np.inf, -np.inf, -np.inf]
    np.testing.assert_allclose(Categorical(logits).log_prob(actions), expected, rtol=1e-6)
    gradient = jax.jacobian(lambda logits: Categorical(logits).log_prob(actions))(logits)
    np.testing.assert_allclose(gradient[:4], [[0.5, 0, -0.5], [-0.5, 0, 0.5], [0, 0, 0], [0, 0, 0]], atol=1e-6)
    assert MultiCategorical(jnp.zeros(5), (2, 3)).log_prob(jnp.array([2, 1])) == -np.inf


def test_multi_categorical_is_its_choices():
    logits = normal(4, BATCH, STEPS, 9)
    distribution = MultiCategorical(logits, (2, 3, 4))
    action, log_prob, entropy, mode = draw(distribution)
    choices = [Categorical(logits[..., :2]), Categorical(logits[..., 2:5]), Categorical(logits[..., 5:])]
    np.testing.assert_allclose(log_prob, sum(c.log_prob(action[..., i]) for i, c in enumerate(choices)), rtol=1e-5)
    np.testing.assert_allclose(entropy, sum(choice.entropy() for choice in choices), rtol=1e-5)
    np.testing.assert_array_equal(mode, np.stack([choice.mode for choice in choices], axis=-1))
    assert (np.asarray(action).max(axis=(0, 1)) < np.array([2, 3, 4])).all()


def test_gaussian():
    loc, scale = np.array([0.5, -1.0]), np.array([0.3, 2.0])
    distribution = DiagonalGaussian(jnp.asarray(loc, jnp.float32), jnp.log(jnp.asarray(scale, jnp.float32)))
    value = np.array([0.1, 1.5])
    reference = scipy.stats.norm(loc, scale)
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(value)), reference.logpdf(value).sum(), rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), reference.entropy().sum(), rtol=1e-5)
    np.testing.assert_array_equal(distribution.mode, distribution.loc)
    samples = np.asarray(draw(distribution, (20_000,))[0])
    np.testing.assert_allclose(samples.mean(axis=0), loc, atol=0.06)
    np.testing.assert_allclose(samples.std(axis=0), scale, rtol=0.02)


@pytest.mark.parametrize("loc", [0.0, -0.7, 3.0])
@pytest.mark.parametrize("log_scale", [-5.0, -1.0, 0.0, 1.0, 2.0])
def test_squashed_entropy_equals_quadrature(loc, log_scale):
    """Change of variables with both terms integrated in float64, over a stretch of 2.5."""
    scale = np.exp(log_scale)

    def log_slope(x):
        return np.log(2.5) + 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))

    def integrand(node):
        return log_slope(loc + scale * node) * scipy.stats.norm.pdf(node)

    mean, _ = scipy.integrate.quad(integrand, -12, 12, limit=500, points=[max(min(-loc / scale, 11), -11)])
    expected = scipy.stats.norm(loc, scale).entropy() + mean
    actual = draw(squashed([loc], [log_scale]))[2]
    np.testing.assert_allclose(actual, expected, atol=1e-2 if log_scale > 1 else 1e-3)


def test_squashed_density_integrates_to_one():
    distribution = squashed([0.4], [-0.5])
    actions = jnp.linspace(-2.0, 3.0, 20_001)[1:-1, None]
    np.testing.assert_allclose(np.exp(distribution.log_prob(actions)).sum() * 5.0 / 20_000, 1.0, atol=1e-4)


def test_squashed_log_prob_and_its_gradients_are_finite_at_the_bounds():
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
    def log_prob(loc, log_scale, action):
        return squashed(loc, log_scale).log_prob(action)

    log_prob = jax.jit(log_prob)

    for action in ([3.0], [-2.0], [np.nextafter(np.float32(3.0), np.float32(0))], [-1.999999]):
        for loc, log_scale in (([0.0], [0.0]), ([5.0], [-2.0]), ([-9.0], [2.0])):
            inputs = [jnp.asarray(x, jnp.float32) for x in (loc, log_scale, action)]
            value, gradients = log_prob(*inputs)
            assert all(np.isfinite(x).all() for x in (value, *gradients))


def test_squashed_log_prob_is_the_same_when_acting_and_when_learning():
    """Both come from the recorded action, so that ratios are exactly one, saturated actions included."""
    distribution = squashed(4.0 * normal(5, BATCH, 2), normal(6, BATCH, 2))
    action = distribution.sample(jax.random.key(0), (100,))
    acting = jax.jit(lambda d, a: d.log_prob(a))(distribution, action)
    learning = jax.jit(jax.vmap(lambda d, a: d.log_prob(a), in_axes=(None, 0)))(distribution, action)
    check_close(acting, learning)
    assert ((action >= -2.0) & (action <= 3.0)).all()


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-2.0, 3.0), (0.1, 0.7), (2.0, 3.0), (-3e3, -1e-3)])
def test_squashed_actions_stay_within_their_bounds(low, high):
    """To the last bit, saturated or not; how close tanh comes to one depends on how XLA was told to optimise."""
    loc = jnp.linspace(-12.0, 12.0, 20_001)[:, None]
    action = np.asarray(jax.jit(lambda loc: squashed(loc, loc, low, high).mode)(loc))
    assert action.min() >= np.float32(low)
    assert action.max() <= np.float32(high)
    np.testing.assert_allclose([action.min(), action.max()], [low, high], rtol=0, atol=4e-7 * (high - low))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_sample_and_its_log_prob_are_those_of_the_two_functions(name):
    distribution = DISTRIBUTIONS[name](BATCH, STEPS)
    action, log_prob = jax.jit(lambda d: d.sample_and_log_prob(jax.random.key(0), (50,)))(distribution)
    np.testing.assert_array_equal(action, draw(distribution, (50,))[0])
    difference = np.abs(log_prob - distribution.log_prob(action))
    # An action is rounded, and squashed ones lie where the density is steep: it is known as far as its slope allows.
    allowed = 2e-5 + 8 * np.sum(rounding(distribution, action), axis=-1) if action.ndim > log_prob.ndim else 2e-5
    assert (difference <= allowed).all()


def rounding(distribution, action):
    """By how much the last bit of a number as large as any action changes the log-density, for each of its numbers."""
    if not np.issubdtype(action.dtype, np.floating):
        return np.zeros(action.shape)
    slope = jax.grad(lambda action: distribution.log_prob(action).sum())(action)
    return np.abs(slope) * np.spacing(np.abs(action).max())


def test_squashed_samples_are_differentiable_where_saturated():
    """As SAC's actor needs: log-density of a fresh sample, exact though float32 rounds the action to its bound."""

    def log_prob(loc):
        return squashed(loc, jnp.array([-1.0])).sample_and_log_prob(jax.random.key(0))[1]

    value, gradient = jax.value_and_grad(log_prob)(jnp.array([12.0]))
    assert jnp.isfinite(value)
    np.testing.assert_allclose(gradient, 2.0, rtol=1e-4)  # the density of ever narrower slopes grows by 2 per unit


def test_beta():
    """Against scipy, over a stretch of 5 that begins at -2."""
    alpha, concentration = np.array([1.3, 4.0]), np.array([2.0, 1.1])
    distribution = beta(alpha, concentration)
    reference = scipy.stats.beta(alpha, concentration, loc=-2.0, scale=5.0)
    value = np.array([-1.7, 2.9])
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(value)), reference.logpdf(value).sum(), rtol=1e-5)
    action, _, entropy, mode = draw(distribution, (20_000,))
    np.testing.assert_allclose(entropy, reference.entropy().sum(), rtol=1e-5)
    np.testing.assert_allclose(action.mean(axis=0), reference.mean(), atol=0.05)
    np.testing.assert_allclose(action.std(axis=0), reference.std(), rtol=0.02)
    around = np.stack([mode - 1e-2, mode, mode + 1e-2])
    assert (reference.logpdf(around).argmax(axis=0) == 1).all()
    np.testing.assert_allclose(beta([1.0], [1.0]).mode, [0.5])


def test_beta_samples_are_differentiable():
    """The mean of draws grows with the first concentration as `a / (a + b)` does, over a stretch of 5."""

    def mean(alpha):
        parameters = jnp.full((4_000, 1), alpha), jnp.full((4_000, 1), 3.0)
        return beta(*parameters).sample(jax.random.key(0)).mean()

    np.testing.assert_allclose(jax.jit(jax.grad(mean))(2.0), 5.0 * 3.0 / 25.0, rtol=0.05)


def test_beta_log_prob_and_its_gradients_are_finite_at_the_bounds():
    log_prob = jax.jit(jax.value_and_grad(lambda *inputs: beta(*inputs[:2]).log_prob(inputs[2]), argnums=(0, 1, 2)))
    for action in ([3.0], [-2.0], [-1.999999]):
        for alpha, concentration in (([1.0], [1.0]), ([200.0], [1.0]), ([1.0], [30.0])):
            inputs = [jnp.asarray(x, jnp.float32) for x in (alpha, concentration, action)]
            value, gradients = log_prob(*inputs)
            assert all(np.isfinite(x).all() for x in (value, *gradients))


def test_beta_samples_next_to_a_bound_have_their_exact_density():
    """Where float32 rounds an action to the bound, its density is still that of the draw."""
    distribution = beta(jnp.full((1_000, 1), 1.0), jnp.full((1_000, 1), 1e7), low=-1.0, high=1.0)
    action, log_prob = distribution.sample_and_log_prob(jax.random.key(0))
    assert (action >= -1.0).all()
    entropy = scipy.stats.beta(1.0, 1e7, loc=-1.0, scale=2.0).entropy()
    np.testing.assert_allclose(-log_prob.mean(), entropy, atol=0.1)


MASKED = jnp.array([1.0, 1.0, -jnp.inf, -jnp.inf])


def test_a_masked_action_has_no_probability():
    """Two of four actions with equal logits: the entropy is log 2, and nothing is learned about the others."""
    policy = Categorical(MASKED)
    np.testing.assert_allclose(policy.entropy(), np.log(2.0), rtol=1e-6)
    np.testing.assert_array_equal(policy.probs, [0.5, 0.5, 0.0, 0.0])
    assert policy.log_prob(jnp.array(3)) == -jnp.inf
    gradient = jax.grad(lambda logits: Categorical(logits).entropy() + Categorical(logits).log_prob(jnp.array(0)))
    np.testing.assert_allclose(gradient(MASKED), [0.5, -0.5, 0.0, 0.0], atol=1e-6)


def test_the_soft_value_of_discrete_actions():
    """`sum p (Q - a log p)`: 2.1386 for p = (1/2, 1/2), Q = (1, 3), a = 0.2, and Q itself where one action is legal."""

    def soft_value(logits, values):
        policy = Categorical(logits)
        return policy.expectation(values - 0.2 * policy.log_probs)

    np.testing.assert_allclose(soft_value(jnp.zeros(2), jnp.array([1.0, 3.0])), 2.1386, atol=1e-4)
    only = jnp.array([0.0, -jnp.inf])
    for impossible in (-jnp.inf, jnp.inf, jnp.nan, 7.0):
        values = jnp.array([1.0, impossible])
        assert soft_value(only, values) == 1.0
        by_logits, by_values = jax.grad(soft_value, (0, 1))(only, values)
        np.testing.assert_array_equal(by_logits, [0.0, 0.0])
        np.testing.assert_array_equal(by_values, [1.0, 0.0])


def test_the_gradient_of_the_soft_value():
    """Against the derivative of the softmax, written out in float64: `p_i (f_i - sum p f)`, `f = Q - a log p - a`."""
    logits, values = np.array([0.3, -1.0, 0.8]), np.array([1.0, 3.0, -2.0])
    probs = np.exp(logits) / np.exp(logits).sum()
    slope = values - 0.2 * np.log(probs) - 0.2
    expected = probs * (slope - (probs * slope).sum())

    def soft_value(logits):
        policy = Categorical(logits)
        return policy.expectation(jnp.asarray(values, jnp.float32) - 0.2 * policy.log_probs)

    np.testing.assert_allclose(jax.grad(soft_value)(jnp.asarray(logits, jnp.float32)), expected, atol=1e-6)


def test_the_entropy_aimed_for():
    """A fraction of what is possible for discrete actions; -1 for each number in -1 ... 1, in their own units."""
    np.testing.assert_allclose(Categorical(MASKED).target_entropy(0.7), 0.7 * np.log(2.0), rtol=1e-6)
    choices = MultiCategorical(jnp.array([[1.0, 1.0, 1.0, 1.0, -jnp.inf]]), (2, 3))
    np.testing.assert_allclose(choices.target_entropy(0.5), [0.5 * (np.log(2.0) + np.log(2.0))], rtol=1e-6)
    np.testing.assert_array_equal(DiagonalGaussian(jnp.zeros((2, 3)), jnp.zeros((2, 3))).target_entropy(), [-3.0, -3.0])
    for make in (squashed, beta):
        np.testing.assert_allclose(make(jnp.ones((2, 3)), jnp.ones((2, 3)), -1.0, 1.0).target_entropy(), [-3.0, -3.0])
        shifted = make(jnp.ones((1, 2)), jnp.ones((1, 2)), -0.01, 0.01).target_entropy()
        np.testing.assert_allclose(shifted, [2 * (-1.0 + np.log(0.01))], rtol=1e-5)
