"""Value heads: shapes, types, initialisation, selection, masks and losses, by numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.networks import heads

BATCH, STEPS, ACTIONS, FEATURES = 3, 4, 5, 16

VALUES = {
    "v": heads.VNetwork(),
    "v_with_hidden_layers": heads.VNetwork(hidden_features=(8,), layer_norm=True),
    "q": heads.DiscreteQNetwork(ACTIONS),
    "q_with_hidden_layers": heads.DiscreteQNetwork(ACTIONS, hidden_features=(8, 7), layer_norm=True),
    "dueling": heads.DuelingQNetwork(ACTIONS),
    "dueling_with_hidden_layers": heads.DuelingQNetwork(ACTIONS, hidden_features=(8,), layer_norm=True),
    "q_c51": heads.C51QNetwork(ACTIONS, 7),
    "q_quantile": heads.QuantileQNetwork(ACTIONS, 7),
    "q_hl_gauss": heads.HLGaussQNetwork(ACTIONS, 7),
    "dueling_c51": heads.DuelingQNetwork(ACTIONS, heads.C51(7)),
    "v_c51": heads.C51VNetwork(7),
    "v_quantile": heads.QuantileVNetwork(7),
    "v_hl_gauss": heads.HLGaussVNetwork(7),
    "q_twin": heads.Twin(heads.DiscreteQNetwork(ACTIONS)),
    "q_twin_c51": heads.Twin(heads.C51QNetwork(ACTIONS, 7)),
    "v_twin_quantile": heads.Twin(heads.QuantileVNetwork(7)),
    "continuous_twin": heads.Twin(heads.ContinuousQNetwork(hidden_features=(8,))),
    "continuous_c51": heads.ContinuousQNetwork(heads.C51(7), hidden_features=(8,)),
    "continuous_q": heads.ContinuousQNetwork(hidden_features=(8,)),
    "continuous_q_normalised": heads.ContinuousQNetwork(hidden_features=(8, 7), layer_norm=True),
}


def features(dtype=jnp.float32):
    return jax.random.normal(jax.random.key(0), (BATCH, STEPS, FEATURES), dtype)


def inputs(head, dtype=jnp.float32):
    return (features(dtype), jnp.zeros((BATCH, STEPS, 2))) if head.takes_action else (features(dtype),)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", VALUES)
def test_values_are_float32_of_the_shape_that_is_promised(name, dtype):
    head = VALUES[name]
    head = heads.Twin(head.head.clone(dtype=dtype)) if isinstance(head, heads.Twin) else head.clone(dtype=dtype)

    def values(key):
        output, params = head.init_with_output(key, *inputs(head, dtype))
        selected = head.select(output, jnp.zeros((BATCH, STEPS), jnp.int32))
        reward = jnp.zeros((BATCH, STEPS))
        losses = head.loss(selected, reward), head.td_loss(selected, selected, reward, reward)
        return head.value(output), losses, params

    value, losses, params = jax.eval_shape(values, jax.random.key(1))
    has_actions = name.startswith(("q", "dueling"))
    assert (value.shape, value.dtype) == ((BATCH, STEPS, ACTIONS) if has_actions else (BATCH, STEPS), jnp.float32)
    assert all((loss.shape, loss.dtype) == ((BATCH, STEPS), jnp.float32) for loss in losses)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_kernels_are_orthogonal_at_their_scale():
    for head, scale in ((heads.Categorical(3), 0.01), (heads.VNetwork(), 1.0), (heads.DiscreteQNetwork(3), 1.0)):
        kernel = head.init(jax.random.key(1), features())["params"]["Dense_0"]["kernel"]
        np.testing.assert_allclose(kernel.T @ kernel, scale**2 * np.eye(kernel.shape[1]), atol=1e-5 * scale**2)


def test_hidden_layers_are_normalised_before_their_relu():
    """The layer has no scale of its own then: a larger kernel changes nothing."""
    head = heads.VNetwork(hidden_features=(8,), layer_norm=True)
    params = head.init(jax.random.key(1), features())
    larger = jax.tree.map(lambda x: x, params)
    larger["params"]["hidden_0"]["kernel"] *= 100.0
    np.testing.assert_allclose(head.apply(larger, features()), head.apply(params, features()), atol=1e-4)
    assert np.std(head.apply(params, features())) > 0.1


def test_the_value_of_an_action_depends_on_features_and_action_together():
    """A value additive in the two could prefer no action in one state and another elsewhere."""
    head = heads.ContinuousQNetwork()
    x, actions = features()[:1, :2], jnp.array([[[-1.0], [-1.0]], [[1.0], [1.0]]])
    params = head.init(jax.random.key(1), x, actions[:1])
    values = jnp.stack([head.apply(params, x, action[None])[0] for action in actions])
    assert abs((values[0, 0] - values[1, 0]) - (values[0, 1] - values[1, 1])) > 1e-3


def dueling(advantages, values):
    """Parameters of a dueling head with the given biases of its value, and the advantages of one-hot features."""
    advantages, values = jnp.asarray(advantages, jnp.float32), jnp.asarray(values, jnp.float32)
    return {
        "params": {
            "value": {"kernel": jnp.zeros((2, values.size)), "bias": values},
            "advantage": {"kernel": advantages, "bias": jnp.zeros(advantages.shape[1])},
        }
    }


def test_dueling_advantages_are_centred_over_actions_and_not_over_time():
    head = heads.DuelingQNetwork(action_dim=3)
    params = dueling([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]], [1.0])
    x = jnp.broadcast_to(jnp.eye(2), (5, 2, 2))  # (B, T, F)
    np.testing.assert_allclose(head.apply(params, x)[0], [[0.0, 1.0, 2.0], [-9.0, 1.0, 11.0]], atol=1e-5)
    shifted = dueling([[6.0, 7.0, 8.0], [15.0, 25.0, 35.0]], [1.0])
    np.testing.assert_allclose(head.apply(shifted, x), head.apply(params, x), atol=1e-5)


def test_dueling_advantages_of_distributions_are_centred_over_actions_at_each_atom():
    """Three actions, two atoms: the logits 1 2 3 at the first and 10 20 30 at the second, values 0 and 5."""
    head = heads.DuelingQNetwork(3, heads.C51(2, -1.0, 1.0))
    params = dueling([[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], [0.0] * 6], [0.0, 5.0])
    output = head.apply(params, jnp.broadcast_to(jnp.eye(2), (5, 2, 2)))  # (B, T, A, N)
    assert output.shape == (5, 2, 3, 2)
    np.testing.assert_allclose(output[0, 0], [[-1.0, -5.0], [0.0, 5.0], [1.0, 15.0]], atol=1e-5)
    np.testing.assert_allclose(output[0, 1], [[0.0, 5.0]] * 3, atol=1e-5)


def test_nothing_leaks_from_actions_that_are_not_selected():
    head = heads.DiscreteQNetwork(3)
    output = jnp.array([[[1.0, -jnp.inf, 2.0], [jnp.nan, 3.0, 4.0]]])
    action = jnp.array([[2, 1]])
    np.testing.assert_array_equal(head.select(output, action), [[2.0, 3.0]])
    gradient = jax.grad(lambda x: (head.select(x, action) ** 2).sum())(output)
    np.testing.assert_array_equal(gradient, [[[0.0, 0.0, 4.0], [0.0, 6.0, 0.0]]])


def test_a_head_without_an_axis_of_actions_selects_all_it_has():
    for head in (heads.VNetwork(), heads.ContinuousQNetwork()):
        output = jnp.arange(6.0).reshape(2, 3)
        assert head.select(output, jnp.zeros((2, 3), jnp.int32)) is output
        assert head.mask(output, jnp.zeros((2, 3, 4), bool)) is output


def test_illegal_actions_are_worth_minus_infinity():
    """By selection: a penalty by addition of 1e6 would choose the third action, a product with the mask too."""
    head = heads.DiscreteQNetwork(3)
    output = jnp.array([[[-3e8, -2e8, 0.0], [1.0, 2.0, 3.0]]])
    legal = jnp.array([[[True, True, False], [False, False, False]]])
    value = head.value(head.mask(output, legal))
    np.testing.assert_array_equal(value, [[[-3e8, -2e8, -np.inf], [1.0, 2.0, 3.0]]])
    np.testing.assert_array_equal(value.argmax(-1), [[1, 2]])
    gradient = jax.grad(lambda x: head.select(head.mask(x, legal), jnp.array([[1, 0]])).sum())(output)
    np.testing.assert_array_equal(gradient, [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])


def test_losses_of_plain_values():
    """Half the square for a state's value and a continuous critic, Huber's with a delta of 1 for discrete actions."""
    selected, target = jnp.array([[1.0, 5.0]]), jnp.array([[1.5, 2.0]])
    for head in (heads.VNetwork(), heads.ContinuousQNetwork()):
        np.testing.assert_array_equal(head.loss(selected, target), [[0.125, 4.5]])
    np.testing.assert_array_equal(heads.DiscreteQNetwork(2).loss(selected, target), [[0.125, 2.5]])
    np.testing.assert_array_equal(heads.DiscreteQNetwork(2, heads.Scalar()).loss(selected, target), [[0.125, 4.5]])
    np.testing.assert_array_equal(heads.VNetwork(heads.Scalar(huber=2.0)).loss(selected, target), [[0.125, 4.0]])


def test_the_td_loss_of_dqn_bit_for_bit():
    selected, following, reward = (jax.random.normal(jax.random.key(i), (8, 5)) for i in range(3))
    discount = 0.99 * jax.random.bernoulli(jax.random.key(3), 0.7, (8, 5))
    expected = optax.huber_loss(selected, reward + discount * following)
    actual = heads.DiscreteQNetwork(2).td_loss(selected, following, reward, discount)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_successor_behind_an_end_is_not_read(value):
    head = heads.VNetwork()

    def loss(selected, following):
        return head.td_loss(selected, following, jnp.array([[2.0, 1.0]]), jnp.array([[0.0, 0.5]])).sum()

    arguments = jnp.array([[1.0, 1.0]]), jnp.array([[value, 4.0]])
    assert loss(*arguments) == 0.5 * (1.0 + 4.0)
    by_selected, by_following = jax.grad(loss, (0, 1))(*arguments)
    np.testing.assert_array_equal(by_selected, [[-1.0, -2.0]])
    np.testing.assert_array_equal(by_following, [[0.0, 0.0]])


def test_a_huber_threshold_must_be_positive():
    with pytest.raises(ValueError, match=r"huber \(0.0\) must be positive, or None for the squared error"):
        heads.Scalar(huber=0.0)


def test_questions_have_discounts_of_their_own():
    head = heads.HordeHead(num_questions=2)
    output, _ = head.init_with_output(jax.random.key(1), features())
    assert output.shape == head.value(output).shape == (BATCH, STEPS, 2)
    answer, following = jnp.array([[[1.0, 2.0]]]), jnp.array([[[10.0, jnp.nan]]])
    cumulant, discount = jnp.array([[[0.5, 3.0]]]), jnp.array([[[0.1, 0.0]]])
    np.testing.assert_allclose(head.td_loss(answer, following, cumulant, discount), [[[0.125, 0.5]]], rtol=1e-6)
    output, _ = heads.HordeHead(2, heads.C51(7)).init_with_output(jax.random.key(1), features())
    assert output.shape == (BATCH, STEPS, 2, 7)
