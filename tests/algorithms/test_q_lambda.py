"""What is Q(lambda)'s own: whose action cuts the trace, and what is bootstrapped from."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import QLambda, QLambdaConfig
from memorax.networks import TORSOS, FeatureExtractor, Network, SequenceModelWrapper, heads
from tests.algorithms.test_ac_lambda import Chain, Identity
from tests.catalogue import FEATURES, make_agent
from tests.probes import ContinuousTarget, MaskedActions


class LinearValues(heads.DiscreteQNetwork):
    """A weight for each feature and action; the first action is a little better at first."""

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return nn.Dense(2, use_bias=False, kernel_init=nn.initializers.zeros)(features)


def after_an_episode(first_greedy: bool, second_greedy: bool, trace_lambda: float = 0.8) -> np.ndarray:
    """The values of the two actions taken in the chain, after it has ended once."""
    extractor = FeatureExtractor(observation_extractor=Identity())
    network = Network(extractor, SequenceModelWrapper(Identity()), LinearValues(2))
    cfg = QLambdaConfig(gamma=0.9, trace_lambda=trace_lambda)
    agent = QLambda(cfg, Chain(), None, network, optax.sgd(0.1))
    key, state = agent.init(jax.random.key(0))
    actions = [int(not first_greedy), int(not second_greedy)]  # ties: argmax names the first action

    @jax.jit
    def iteration(state: Any, action: jax.Array) -> Any:
        after, trajectory = agent.act(key, state)
        return agent._learn(key, after, trajectory.replace(action=action[None, None]))[0]

    for action in actions:
        state = iteration(state, jnp.int32(action))
    (kernel,) = jax.tree.leaves(state.q.learner.params)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(state.q.trace))
    return np.asarray([kernel[0, actions[0]], kernel[1, actions[1]]])


@pytest.mark.parametrize(
    ("greedy", "trace_lambda", "expected"),
    [
        ((True, True), 1.0, [0.09, 0.1]),
        ((True, True), 0.8, [0.072, 0.1]),
        ((True, False), 0.8, [0.0, 0.1]),
        ((False, True), 0.8, [0.072, 0.1]),
    ],
)
def test_an_exploratory_action_cuts_what_lay_before_it(
    greedy: tuple[bool, bool], trace_lambda: float, expected: list[float]
) -> None:
    np.testing.assert_allclose(after_an_episode(*greedy, trace_lambda), expected, rtol=1e-5, atol=1e-8)


def test_illegal_actions_are_neither_greedy_nor_bootstrapped_from() -> None:
    """With two actions one is legal at each step: whatever is explored, the trace is never cut and all is finite."""
    env = MaskedActions(num_actions=2)
    agent = make_agent("q_lambda", env, None, TORSOS["mlp"](FEATURES), QLambdaConfig(epsilon_end=1.0))
    _, state, metrics = agent.train(*agent.init(jax.random.key(0)), 60, keep=lambda transition, metrics: metrics)
    np.testing.assert_array_equal(metrics["greedy"], 1.0)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves((state.q, metrics)))


def test_actions_that_are_no_choice_are_an_error() -> None:
    message = r"Q\(lambda\) needs a Discrete action space, but that of ContinuousTarget is Box"
    with pytest.raises(ValueError, match=message):
        make_agent("q_lambda", ContinuousTarget(), None, TORSOS["mlp"](FEATURES))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_envs": 2}, "num_envs (2) must be 1: a streaming algorithm learns from one step of one environment"),
        ({"exploration_steps": 0}, "exploration_steps (0) must be greater than 0"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        QLambdaConfig(**fields)
    assert str(error.value) == message
