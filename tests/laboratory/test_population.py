"""Many settings in one program equal the same ones by themselves."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from memorax.evaluation import mean_return
from memorax.laboratory.population import Population, train_population
from memorax.laboratory.search_space import with_values
from memorax.random_keys import key_for
from memorax.training import build_agent
from tests.training.small import CONFIG

SMALL = dataclasses.replace(CONFIG, environment="memory::TMaze", torso="mlp", num_seeds=1, total_steps=128)
VALUES = {"learning_rate": [1e-3, 0.1], "gamma": [0.5, 0.9], "ent_coef": [0.0, 0.1], "gae_lambda": [0.9, 0.5]}


@pytest.mark.slow
def test_settings_in_one_program_equal_those_by_themselves() -> None:
    values = {name: np.array(column) for name, column in VALUES.items()}
    together = train_population(SMALL, values, evaluation_steps=128)
    agent = build_agent(with_values(SMALL, {name: float(column[1]) for name, column in values.items()}))
    key, state = agent.init(jax.random.key(SMALL.seed))
    key, state, _ = agent.train(key, state, SMALL.total_steps)
    _, transitions = agent.evaluate(key_for(key, "evaluate a population"), state, 128)
    np.testing.assert_allclose(together.returns[1, 0], mean_return(transitions), rtol=1e-5)
    assert together.returns.shape == (2, 1)
    assert together.returns[0] != together.returns[1]


def test_the_best_is_the_mean_over_seeds() -> None:
    population = Population({"gamma": np.array([0.5, 0.9, 0.99])}, np.array([[0.0, 1.0], [0.6, 0.6], [np.nan, 1.0]]))
    assert population.best == {"gamma": 0.9}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"gamma": [0.5], "ent_coef": [0.0, 0.1]},
            r"values \(gamma \(1,\), ent_coef \(2,\)\) must be arrays of the same",
        ),
        ({"num_envs": [2, 4]}, r"num_envs \(2\) cannot be varied in one program"),
        ({"gamma": [0.5, 1.5]}, r"gamma \(1.5\) must"),
        ({"gama": [0.5]}, r"gama \(None\) cannot be varied"),
    ],
)
def test_wrong_values_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_population(SMALL, values)
