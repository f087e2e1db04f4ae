"""Soft values against numbers worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.learning.soft_values import ExactSoftCritic, SoftValue, soft_critic, soft_targets
from memorax.networks import MLP, FeatureExtractor, Network, SequenceModelWrapper, heads
from memorax.networks.distributions import Categorical

INF, NAN = math.inf, math.nan


def exact(q_values: list[Any]) -> ExactSoftCritic:
    """A critic of one timestep whose two halves have the given action values."""
    halves = tuple(jnp.asarray([[values]], jnp.float32) for values in q_values)
    twin = heads.Twin(heads.DiscreteQNetwork(len(q_values[0])))
    # Called in place of a network: what it is given does not matter, what it returns is known.
    network = SimpleNamespace(head=twin, apply=lambda *arguments, method: halves)
    return ExactSoftCritic(network)  # type: ignore[arg-type]


def soft_value(q_values: list[Any], logits: list[float]) -> SoftValue:
    policy = Categorical(jnp.asarray([[logits]]))
    return exact(q_values).soft_value(jax.random.key(0), {}, jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1)), policy)


@pytest.mark.parametrize(
    ("terminated", "expected"),
    [(False, 1 + 0.9 * (5 + 0.2 * 3)), (True, 1.0)],
)
def test_the_entropy_ends_with_the_episode_and_is_discounted(terminated: bool, expected: float) -> None:
    successor = SoftValue(jnp.asarray([[5.0]]), jnp.asarray([[3.0]]))
    discount = jnp.asarray([[0.0 if terminated else 0.9]])
    target = soft_targets(jnp.ones((1, 1)), discount, successor, jnp.asarray(0.2))
    np.testing.assert_allclose(target, [[expected]], rtol=1e-6)


@pytest.mark.parametrize("bad", [SoftValue(NAN, 1.0), SoftValue(1.0, NAN), SoftValue(-INF, INF)])
def test_nothing_of_a_successor_reaches_a_step_that_ends(bad: SoftValue) -> None:
    def total(temperature: jax.Array) -> tuple[jax.Array, jax.Array]:
        successor = SoftValue(*(jnp.full((1, 2), x) * temperature for x in bad))
        target = soft_targets(jnp.asarray([[3.0, 4.0]]), jnp.zeros((1, 2)), successor, temperature)
        return jnp.sum(target * temperature), target

    gradient, target = jax.grad(total, has_aux=True)(jnp.asarray(0.2))
    np.testing.assert_array_equal(target, [[3.0, 4.0]])
    np.testing.assert_allclose(gradient, 7.0, rtol=1e-6)


def test_an_expectation_is_a_sum_over_actions() -> None:
    value = soft_value([(1.0, 3.0), (1.0, 3.0)], [0.0, 0.0])
    np.testing.assert_allclose(value.total(jnp.asarray(0.2)), 2.0 + 0.2 * math.log(2), rtol=1e-6)


def test_the_lower_half_is_believed_action_by_action() -> None:
    np.testing.assert_allclose(soft_value([(1.0, 3.0), (2.0, 2.0)], [0.0, 0.0]).action_value, 1.5)


def test_an_illegal_action_counts_nothing() -> None:
    def total(logit: jax.Array) -> jax.Array:
        policy = Categorical(jnp.stack([logit, jnp.asarray(-INF)])[None, None])
        arguments = (jax.random.key(0), {}, jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1)), policy)
        return exact([(7.0, -INF), (8.0, -INF)]).soft_value(*arguments).total(jnp.asarray(0.2))[0, 0]

    value, gradient = jax.value_and_grad(total)(jnp.asarray(1.0))
    assert (float(value), float(gradient)) == (7.0, 0.0)


def test_the_temperature_aims_for_an_entropy_that_legal_actions_can_have() -> None:
    """Ten actions of which two are legal: 0.7 of the logarithm of ten is above what two can have."""
    policy = Categorical(jnp.asarray([[0.0, 0.0, *[-INF] * 8]]))
    np.testing.assert_allclose(policy.target_entropy(0.7), 0.7 * math.log(2), rtol=1e-6)
    temperature = heads.Temperature(1.0)
    slope = jax.grad(lambda x: temperature.loss(x, policy.entropy(), policy.target_entropy(0.7)).sum())(0.0)
    assert slope > 0, "descended, the temperature of a uniform policy falls"


def test_which_critics_need_a_sample() -> None:
    def network(head: Any) -> Network:
        return Network(FeatureExtractor(MLP(4)), SequenceModelWrapper(MLP(4)), head)

    assert soft_critic(network(heads.Twin(heads.ContinuousQNetwork()))).target_entropy_ratio == 1.0
    assert isinstance(soft_critic(network(heads.Twin(heads.DiscreteQNetwork(3)))), ExactSoftCritic)
