"""Twins: two heads in fact, of which the lower is believed, and each learns as it would alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box, Discrete
from memorax.networks import heads

BATCH, STEPS, FEATURES = 3, 4, 16

TWINS = {
    "discrete": heads.DuelingQNetwork(5, hidden_features=(8,), layer_norm=True),
    "continuous": heads.ContinuousQNetwork(hidden_features=(8,)),
    "c51": heads.C51QNetwork(5, 7, -3.0, 3.0),
}


def inputs(head):
    features = jax.random.normal(jax.random.key(0), (BATCH, STEPS, FEATURES))
    action = jax.random.normal(jax.random.key(2), (BATCH, STEPS, 2))
    return (features, action) if head.takes_action else (features,)


@pytest.mark.parametrize("name", TWINS)
def test_the_two_are_two(name):
    """Every kernel is another one, under a map over seeds too, and so are the values."""
    head = heads.Twin(TWINS[name])
    keys = jax.random.split(jax.random.key(1), 2)
    seeds = jax.lax.map(lambda key: head.init(key, *inputs(head)), keys)
    params = seeds["params"]
    assert jax.tree.structure(params["first"]) == jax.tree.structure(params["second"])
    kernels = [np.asarray(leaf) for leaf in jax.tree.leaves(params) if leaf.ndim > 2]
    kernels = [kernel for pair in kernels for kernel in pair]  # one of each seed and half
    assert len(kernels) >= 4
    for i, kernel in enumerate(kernels):
        assert all(kernel.shape != other.shape or np.abs(kernel - other).max() > 1e-3 for other in kernels[:i])
    value = jax.jit(jax.vmap(lambda params: head.values(head.apply(params, *inputs(head)))))
    values = np.asarray(value(seeds))  # (halves, seeds, B, T, ...)
    assert np.abs(values[0] - values[1]).min() > 1e-6
    assert np.abs(values[:, 0] - values[:, 1]).min() > 1e-6


@pytest.mark.parametrize("name", TWINS)
def test_each_learns_as_it_would_alone(name):
    alone = TWINS[name]
    head = heads.Twin(alone)
    params = jax.jit(head.init)(jax.random.key(1), *inputs(head))
    action, target = jnp.ones((BATCH, STEPS), jnp.int32), jnp.full((BATCH, STEPS), 0.7)

    def loss(head, params):
        return head.loss(head.select(head.apply(params, *inputs(head)), action), target).sum()

    gradient = jax.jit(jax.grad(lambda params: loss(head, params)))(params)["params"]
    gradient_alone = jax.jit(jax.grad(lambda params: loss(alone, params)))
    for half in ("first", "second"):
        own = gradient_alone({"params": params["params"][half]})["params"]
        assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(own)) > 1e-3
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), gradient[half], own)


def test_the_lower_value_is_taken_action_by_action():
    head = heads.Twin(heads.DiscreteQNetwork(2))
    output = jnp.array([[[1.0, 3.0]]]), jnp.array([[[2.0, 2.0]]])  # (B, T, A) each
    np.testing.assert_array_equal(head.value(output), [[[1.0, 2.0]]])
    np.testing.assert_array_equal(head.select(output, jnp.array([[1]])), [[[3.0]], [[2.0]]])
    legal = jnp.array([[[False, True]]])
    np.testing.assert_array_equal(head.value(head.mask(output, legal)), [[[-np.inf, 2.0]]])


def test_both_learn_from_the_lower_of_the_successors_values():
    """Rewards 1 and 2, discounts 1/2 and 0: targets 1 + 3 / 2 and 2, whatever lies behind the end."""
    head = heads.Twin(heads.VNetwork())
    selected = jnp.array([[2.5, 2.0]]), jnp.array([[1.5, 1.0]])  # (B, T) each
    following = jnp.array([[8.0, jnp.nan]]), jnp.array([[3.0, jnp.inf]])
    reward, discount = jnp.array([[1.0, 2.0]]), jnp.array([[0.5, 0.0]])
    loss = jax.jit(head.td_loss)
    np.testing.assert_array_equal(loss(selected, following, reward, discount), [[0.5, 0.5]])
    np.testing.assert_array_equal(loss(selected, following[::-1], reward, discount), [[0.5, 0.5]])
    unknown = jnp.full((1, 2), jnp.nan), jnp.ones((1, 2))
    for following in (unknown, unknown[::-1]):
        np.testing.assert_array_equal(loss(selected, following, reward, discount), [[np.nan, 0.5]])


def test_both_distributions_learn_from_the_one_with_the_lower_mean():
    head, alone = heads.Twin(heads.C51VNetwork(5, -2.0, 2.0)), heads.C51VNetwork(5, -2.0, 2.0)
    selected, following = (tuple(jax.random.normal(jax.random.key(i), (2, 1, 6, 5))) for i in range(2))
    reward, discount = jnp.zeros((1, 6)), jnp.full((1, 6), 0.9)
    first_is_lower = jnp.less(*head.values(following))
    assert set(np.unique(first_is_lower)) == {False, True}
    chosen = jnp.where(first_is_lower[..., None], *following)
    loss, loss_alone = jax.jit(head.td_loss), jax.jit(alone.td_loss)
    expected = sum(loss_alone(half, chosen, reward, discount) for half in selected)
    np.testing.assert_allclose(loss(selected, following, reward, discount), expected, rtol=1e-6)


def test_twins_fit_what_their_head_fits():
    assert heads.Twin(heads.ContinuousQNetwork()).takes_action
    assert not heads.Twin(heads.DiscreteQNetwork(2)).takes_action
    heads.Twin(heads.ContinuousQNetwork()).check_action_space(Box(-1.0, 1.0, (2,)))
    with pytest.raises(ValueError, match=r"DiscreteQNetwork\(action_dim=2\) does not fit"):
        heads.Twin(heads.DiscreteQNetwork(2)).check_action_space(Discrete(3))
