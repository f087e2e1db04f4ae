from __future__ import annotations

import types
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.learning.optimization import Learner, apply_gradients
from memorax.testing.recorder import optimizers_of, recording_from, with_recorders, with_recorders_in

GRADIENTS = [{"params": {"w": jnp.array([1.0, -2.0])}}, {"params": {"w": jnp.array([3.0, 5.0])}}]
ADAM = optax.adam(0.1)


def agent_with(**attributes: Any) -> Any:
    return cast("Any", types.SimpleNamespace(**attributes))


def steps(optimizer: Any, learner: Learner) -> Learner:
    for gradients in GRADIENTS:
        learner, _ = apply_gradients(gradients, learner, optimizer)
    return learner


@pytest.mark.parametrize("place", ["an attribute", "a dictionary"])
def test_optimizers_are_found_and_an_agent_stays_as_it_is(place: str) -> None:
    agent = agent_with(optimizer=ADAM if place == "an attribute" else {"actor": ADAM}, name="agent", size=3)
    assert optimizers_of(agent) == [ADAM]
    other = with_recorders(agent, first_only=False)
    assert optimizers_of(agent) == [ADAM]
    assert optimizers_of(other) != [ADAM]
    assert (other.name, other.size) == ("agent", 3)


@pytest.mark.parametrize(("first_only", "total"), [(False, [4.0, 3.0]), (True, [1.0, -2.0])])
def test_gradients_are_recorded_and_change_nothing_else(first_only: bool, total: list[float]) -> None:
    learner = Learner.create({"params": {"w": jnp.zeros(2)}}, ADAM)
    optimizer = with_recorders(agent_with(optimizer=ADAM), first_only).optimizer  # type: ignore[attr-defined]
    learned, recorded = (
        steps(optimizer, change(with_recorders_in(learner))) for change in (lambda x: x, recording_from)
    )

    right = steps(ADAM, learner)
    np.testing.assert_array_equal(learned.params["params"]["w"], right.params["params"]["w"])
    assert int(learned.optimizer_state.count) == 0

    np.testing.assert_array_equal(recorded.params["params"]["w"], 0.0)
    np.testing.assert_array_equal(recorded.optimizer_state.total["params"]["w"], total)
    assert int(recorded.optimizer_state.count) == 2
    assert int(recorded.optimizer_state.optimizer_state[0].count) == 0


def test_states_that_are_kept_elsewhere_are_those_of_the_optimizer() -> None:
    optimizer = with_recorders(agent_with(optimizer=ADAM), first_only=False).optimizer  # type: ignore[attr-defined]
    params = {"w": jnp.zeros(2)}
    updates, state = optimizer.update({"w": jnp.ones(2)}, ADAM.init(params), params)
    expected, state_expected = ADAM.update({"w": jnp.ones(2)}, ADAM.init(params), params)
    np.testing.assert_array_equal(updates["w"], expected["w"])
    assert int(state[0].count) == int(state_expected[0].count) == 1
