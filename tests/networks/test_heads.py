"""Heads: shapes, types, initialisation, and the one line that says what would fit."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete
from memorax.networks import heads

BATCH, STEPS, FEATURES = 3, 4, 16

POLICIES = {
    "categorical": (heads.Categorical(3), Discrete(3)),
    "multi_categorical": (heads.MultiCategorical((2, 3)), MultiDiscrete((2, 3))),
    "gaussian": (heads.Gaussian(2), Box(-1.0, 1.0, (2,))),
    "squashed_gaussian": (heads.SquashedGaussian(2, -2.0, (1.0, 3.0)), Box(-2.0, np.array([1.0, 3.0]), (2,))),
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


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values(dtype):
    x, action = features(dtype), jnp.zeros((BATCH, STEPS, 2))
    for head, inputs, shape in (
        (heads.VNetwork(dtype=dtype), (x,), (BATCH, STEPS)),
        (heads.DiscreteQNetwork(5, dtype=dtype), (x,), (BATCH, STEPS, 5)),
        (heads.ContinuousQNetwork(dtype=dtype), (x, action), (BATCH, STEPS)),
    ):
        values, params = jax.eval_shape(head.init_with_output, jax.random.key(1), *inputs)
        assert (values.shape, values.dtype) == (shape, jnp.float32)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_kernels_are_orthogonal_at_their_scale():
    for head, scale in ((heads.Categorical(3), 0.01), (heads.VNetwork(), 1.0), (heads.DiscreteQNetwork(3), 1.0)):
        kernel = head.init(jax.random.key(1), features())["params"]["Dense_0"]["kernel"]
        np.testing.assert_allclose(kernel.T @ kernel, scale**2 * np.eye(kernel.shape[1]), atol=1e-5 * scale**2)


def test_the_value_of_an_action_depends_on_features_and_action_together():
    """A value additive in the two could prefer no action in one state and another elsewhere."""
    head = heads.ContinuousQNetwork()
    x, actions = features()[:1, :2], jnp.array([[[-1.0], [-1.0]], [[1.0], [1.0]]])
    params = head.init(jax.random.key(1), x, actions[:1])
    values = jnp.stack([head.apply(params, x, action[None])[0] for action in actions])
    assert abs((values[0, 0] - values[1, 0]) - (values[0, 1] - values[1, 1])) > 1e-3


@pytest.mark.parametrize(
    ("head", "space", "message"),
    [
        (
            heads.Categorical(5),
            Discrete(4),
            "Categorical(action_dim=5) does not fit the action space Discrete(4): use action_dim=4",
        ),
        (
            heads.Gaussian(2),
            Discrete(4),
            "Gaussian is for Box action spaces with one axis, but the action space is Discrete(4): "
            "use Categorical(action_dim=4)",
        ),
        (
            heads.Categorical(4),
            MultiDiscrete((2, 2)),
            "Categorical is for Discrete action spaces, but the action space is MultiDiscrete((2, 2)): "
            "use MultiCategorical(action_dims=(2, 2))",
        ),
        (
            heads.MultiCategorical((2, 3)),
            MultiDiscrete((3, 2)),
            "MultiCategorical(action_dims=(2, 3)) does not fit the action space MultiDiscrete((3, 2)): "
            "use action_dims=(3, 2)",
        ),
        (
            heads.Gaussian(3),
            Box(-1.0, 1.0, (2,)),
            "Gaussian(action_dim=3) does not fit the action space Box(low=-1.0, high=1.0, shape=(2,)): "
            "use action_dim=2",
        ),
        (
            heads.SquashedGaussian(1),
            Box(-2.0, 2.0, (1,)),
            "SquashedGaussian(low=-1.0, high=1.0) does not fit the action space Box(low=-2.0, high=2.0, shape=(1,)): "
            "use low=-2.0, high=2.0",
        ),
        (
            heads.DiscreteQNetwork(3),
            Discrete(2),
            "DiscreteQNetwork(action_dim=3) does not fit the action space Discrete(2): use action_dim=2",
        ),
        (
            heads.DiscreteQNetwork(3),
            Box(-1.0, 1.0, (2,)),
            "DiscreteQNetwork is for Discrete action spaces, but the action space is "
            "Box(low=-1.0, high=1.0, shape=(2,)): use ContinuousQNetwork()",
        ),
        (
            heads.ContinuousQNetwork(),
            Discrete(2),
            "ContinuousQNetwork is for Box action spaces with one axis, but the action space is Discrete(2): "
            "use DiscreteQNetwork(action_dim=2)",
        ),
        (
            heads.Gaussian(4),
            Box(-1.0, 1.0, (2, 2)),
            "there is no policy head for the action space Box(low=-1.0, high=1.0, shape=(2, 2)): "
            "it must be Discrete, MultiDiscrete or Box with one axis",
        ),
        (
            heads.DiscreteQNetwork(4),
            MultiDiscrete((2, 2)),
            "there is no action-value head for the action space MultiDiscrete((2, 2)): "
            "it must be Discrete or Box with one axis",
        ),
    ],
)
def test_a_head_that_does_not_fit_says_what_would(head, space, message):
    with pytest.raises(ValueError) as error:
        head.check_action_space(space)
    assert str(error.value) == message


@pytest.mark.parametrize("default", [heads.policy_head, heads.q_head])
@pytest.mark.parametrize(
    "space", [Discrete(4), MultiDiscrete((2, 3)), Box(-2.0, 2.0, (3,)), Box(-np.inf, np.inf, (1,))]
)
def test_default_heads_fit(default, space):
    if default is heads.q_head and isinstance(space, MultiDiscrete):
        with pytest.raises(ValueError, match="no action-value head"):
            default(space)
        return
    head = default(space)
    assert isinstance(head, nn.Module)
    head.check_action_space(space)
    heads.VNetwork().check_action_space(space)


def test_an_unbounded_space_asks_for_no_bounds():
    heads.SquashedGaussian(2, -3.0, 3.0).check_action_space(Box(-np.inf, np.inf, (2,)))


def test_no_head_for_a_dictionary():
    with pytest.raises(ValueError, match="there is no policy head for the action space Dict"):
        heads.policy_head(Dict({"a": Discrete(2)}))
