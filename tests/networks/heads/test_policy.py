"""Policy heads: shapes, types, initialisation, masks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box, Discrete, MultiDiscrete
from memorax.networks import distributions, heads

BATCH, STEPS, FEATURES = 3, 4, 16

POLICIES = {
    "categorical": (heads.Categorical(3), Discrete(3)),
    "multi_categorical": (heads.MultiCategorical((2, 3)), MultiDiscrete((2, 3))),
    "gaussian": (heads.Gaussian(2), Box(-1.0, 1.0, (2,))),
    "squashed_gaussian": (heads.SquashedGaussian(2, -2.0, (1.0, 3.0)), Box(-2.0, np.array([1.0, 3.0]), (2,))),
    "beta": (heads.Beta(2, -2.0, (1.0, 3.0)), Box(-2.0, np.array([1.0, 3.0]), (2,))),
}


def features(dtype=jnp.float32):
    return jax.random.normal(jax.random.key(0), (BATCH, STEPS, FEATURES), dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_a_distribution_over_its_space(name, dtype):
    head, space = POLICIES[name]
    head = head.clone(dtype=dtype)
    head.check_action_space(space)
    distribution, params = jax.jit(head.init_with_output)(jax.random.key(1), features(dtype))
    action = distribution.sample(jax.random.key(2))
    assert (action.shape, distribution.batch_shape) == ((BATCH, STEPS, *space.shape), (BATCH, STEPS))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, distribution)))
    if name != "gaussian":
        inside = jax.vmap(jax.vmap(space.contains))
        assert inside(action).all()
        assert inside(distribution.mode).all()


@pytest.mark.parametrize("name", POLICIES)
def test_the_first_policy_hardly_depends_on_its_input(name):
    head, _ = POLICIES[name]
    distribution, _ = jax.jit(head.init_with_output)(jax.random.key(1), features())
    entropy = distribution.entropy()
    assert np.ptp(entropy) < 0.05
    if "categorical" in name:
        np.testing.assert_allclose(entropy, np.log(3 if name == "categorical" else 6), atol=1e-2)


@pytest.mark.parametrize(
    "head", [heads.Gaussian(2, initial_log_std=-0.7), heads.SquashedGaussian(2, initial_log_std=-0.7)]
)
def test_the_first_standard_deviation_is_what_was_asked_for(head):
    distribution, _ = jax.jit(head.init_with_output)(jax.random.key(1), features())
    np.testing.assert_allclose(distribution.log_scale, -0.7, atol=0.15)
    np.testing.assert_allclose(distribution.log_scale.mean(), -0.7, atol=0.03)


def test_the_squashed_standard_deviation_depends_on_features_within_limits():
    head = heads.SquashedGaussian(2)
    params = head.init(jax.random.key(1), features())
    log_scale = head.apply(params, 1e4 * features()).log_scale
    assert log_scale.min() >= -5.0
    assert log_scale.max() <= 2.0
    assert np.ptp(log_scale) > 1.0


LEGAL = {
    "categorical": jnp.array([True, False, True]),
    "multi_categorical": jnp.array([False, True, False, True, True]),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_not_allowed_is_neither_done_nor_learned_from(name):
    head, _ = POLICIES[name]
    legal = jnp.broadcast_to(LEGAL[name], (BATCH, STEPS, *LEGAL[name].shape))
    params = head.init(jax.random.key(1), features())

    def loss(logits):
        policy = head.mask(head.apply(params, features()).__class__(logits, *others), legal)
        return (policy.entropy() + policy.log_prob(policy.mode)).sum(), policy

    output = head.apply(params, features())
    others = () if name == "categorical" else (head.action_dims,)
    gradient, policy = jax.grad(loss, has_aux=True)(output.logits)
    assert jnp.isneginf(policy.logits[~legal]).all()
    np.testing.assert_array_equal(policy.logits[legal], output.logits[legal])
    assert jnp.isfinite(gradient).all()
    assert (gradient[~legal] == 0.0).all()
    assert (jnp.abs(gradient[legal]) > 0.0).any()
    np.testing.assert_allclose(policy.entropy(), np.log(2), atol=1e-3)


def test_a_mask_that_allows_nothing_allows_everything():
    """Of several choices, in each choice by itself."""
    logits = jnp.array([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
    one = heads.Categorical(5).mask(distributions.Categorical(logits), jnp.zeros((1, 1, 5), bool))
    np.testing.assert_array_equal(one.logits, logits)
    legal = jnp.array([[[False, False, True, False, False]]])
    two = heads.MultiCategorical((2, 3)).mask(distributions.MultiCategorical(logits, (2, 3)), legal)
    np.testing.assert_array_equal(two.logits, [[[1.0, 2.0, 3.0, -np.inf, -np.inf]]])


def test_a_mask_is_applied_after_the_cast_from_bfloat16():
    head = heads.Categorical(4, dtype=jnp.bfloat16)
    output, _ = head.init_with_output(jax.random.key(1), features(jnp.bfloat16))
    legal = jnp.broadcast_to(jnp.array([True, True, False, False]), output.logits.shape)
    masked = head.mask(output, legal)
    assert masked.logits.dtype == jnp.float32
    np.testing.assert_array_equal(masked.logits[..., :2], output.logits[..., :2])


@pytest.mark.parametrize("name", ["gaussian", "squashed_gaussian", "beta"])
def test_a_continuous_policy_knows_no_mask(name):
    head, _ = POLICIES[name]
    output, _ = head.init_with_output(jax.random.key(1), features())
    assert head.mask(output, jnp.zeros((BATCH, STEPS, 3), bool)) is output


@pytest.mark.parametrize("head", [heads.SquashedGaussian, heads.Beta])
@pytest.mark.parametrize("low", [1.0, (-1.0, 2.0)])
def test_bounds_that_are_no_interval_are_refused(head, low):
    with pytest.raises(ValueError, match=rf"{head.__name__}\(low=.*, high=1.0\): low must be less than high"):
        head(2, low).check_action_space(Box(-np.inf, np.inf, (2,)))


def test_the_first_standard_deviation_must_lie_within_its_limits():
    with pytest.raises(ValueError, match=r"initial_log_std \(3.0\) must lie between min_log_std \(-5.0\)"):
        heads.SquashedGaussian(2, initial_log_std=3.0)


def test_a_beta_policy_has_one_maximum_whatever_its_features():
    head = heads.Beta(2)
    params = head.init(jax.random.key(1), features())
    policy = head.apply(params, 1e4 * features())
    assert min(policy.alpha.min(), policy.beta.min()) >= 1.0
    assert np.ptp(policy.mode) > 1.9
    assert jnp.isfinite(policy.mode).all()
