"""What is Q(lambda)'s own: whose action cuts the trace, and what is bootstrapped from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.algorithms import QLambdaConfig
from memorax.learning.traces import obgd
from memorax.networks import TORSOS
from memorax.testing import check_close
from tests.algorithms import reference
from tests.catalogue import FEATURES, make_agent
from tests.probes import ContinuousTarget, MaskedActions


def test_errors_traces_and_updates_are_those_of_the_paper() -> None:
    """Watkins's traces, which an exploratory action cuts before it is credited itself, and ObGD."""
    cfg = QLambdaConfig(gamma=0.9, trace_lambda=0.8, epsilon_end=1.0)
    agent = reference.small_agent("q_lambda", cfg, reference.Walk(), obgd())

    @jax.jit
    def learn(key: Any) -> Any:
        key, state = agent.init(key)
        state = state.replace(q=state.q.replace(learner=reference.randomized(key, state.q.learner)))
        return state, *reference.streamed(agent, key, state, 16)

    before, after, trajectories, metrics = jax.device_get(learn(jax.random.key(1)))
    params = first = reference.named(before.q.variables)
    trace = {name: np.zeros_like(x) for name, x in params.items()}
    for t in range(16):
        seen, final, action, reward, terminated, truncated = reference.streamed_step(trajectories, t)
        values, next_values = (reference.output(params, x) for x in (seen, final))
        delta = reward + (0.0 if terminated else 0.9 * next_values.max()) - values[action]
        check_close(metrics["td_error"][t], np.abs(delta))
        assert metrics["greedy"][t] == (action == values.argmax())
        slope = reference.gradient(lambda p, seen=seen, action=action: reference.output(p, seen)[action], params)
        decay = 0.72 if action == values.argmax() else 0.0
        trace = {name: decay * trace[name] + slope[name] for name in trace}
        params = reference.obgd_step(params, trace, delta, kappa=2.0)
        if terminated or truncated:
            trace = {name: 0.0 * x for name, x in trace.items()}
    assert trajectories.terminated.any() and trajectories.truncated.any() and 0 < metrics["greedy"].mean() < 1
    check_close(*(jax.tree.map(np.subtract, x, first) for x in (reference.named(after.q.variables), params)))


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
