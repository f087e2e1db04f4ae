"""Many settings in one program equal the same ones by themselves."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from memorax.cli import main
from memorax.cli.train import parse
from memorax.evaluation import mean_return
from memorax.laboratory.population import Population, draw_values, train_population, write_population
from memorax.laboratory.search_space import Choice, Range, with_values
from memorax.random_keys import key_for
from memorax.training import build_agent
from memorax.training.config import config_to_json
from tests.training.small import CONFIG

SMALL = dataclasses.replace(CONFIG, environment="memory::TMaze", torso="mlp", num_seeds=1, total_steps=128)


@pytest.mark.slow
def test_a_member_of_a_population_equals_its_settings_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line to the table: the return of each member is that of an agent with its settings."""
    settings = tmp_path / "mine.json"
    settings.write_text(json.dumps(config_to_json(dataclasses.replace(SMALL, evaluation_steps=128))))
    search = ("learning_rate=log:1e-3..1e-1", "gamma=0.5,0.9", "ent_coef=0.0..0.1", "gae_lambda")
    arguments = ["sweep", str(settings), "--population", "2", "--folder", str(tmp_path / "out"), "--search", *search]
    assert main(arguments) == 0
    with open(tmp_path / "out" / "population.csv", newline="") as file:
        rows = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    returns = [row.pop(f"return_{SMALL.seed}") for row in rows]
    assert sorted(row["gamma"] for row in rows) == pytest.approx([0.5, 0.9])
    assert min(row["learning_rate"] for row in rows) <= 1e-2 <= max(row["learning_rate"] for row in rows)
    agent = build_agent(with_values(SMALL, rows[1]))
    key, state = agent.init(jax.random.key(SMALL.seed))
    key, state, _ = agent.train(key, state, SMALL.total_steps)
    _, transitions = agent.evaluate(key_for(key, "evaluate a population"), state, 128)
    np.testing.assert_allclose(returns[1], mean_return(transitions), rtol=1e-5)
    assert returns[0] != returns[1]
    best = parse(capsys.readouterr().out.partition("memorax train ")[2].splitlines()[0].split()).config
    assert best.hyperparameters.gamma == rows[int(np.argmax(returns))]["gamma"]


def test_what_became_of_a_population_is_written(tmp_path: Path) -> None:
    values = {"gamma": np.array([0.5, 0.9]), "learning_rate": np.array([1e-3, 1e-2])}
    report = write_population(SMALL, Population(values, np.array([[0.25, 0.75], [1.0, 0.0]])), tmp_path)
    assert (tmp_path / "population.csv").read_text().splitlines() == [
        "gamma,learning_rate,return_3,return_4",
        "0.5,0.001,0.25,0.75",
        "0.9,0.01,1.0,0.0",
    ]
    assert (tmp_path / "report.md").read_text() == report
    assert "| 0.5 | 0.5 | 0.001 |\n| 0.5 | 0.9 | 0.01 |" in report and "--learning-rate 0.001" in report


def test_values_are_spread_over_the_space() -> None:
    spaces = {"learning_rate": Range(1e-4, 1.0, log=True), "gamma": Range(0.0, 1.0), "ent_coef": Choice((0.0, 0.1))}
    values = draw_values(spaces, 4)
    assert np.array_equal(np.sort(np.floor(np.log10(values["learning_rate"]))), [-4, -3, -2, -1])
    assert np.array_equal(np.sort(np.floor(values["gamma"] * 4)), [0, 1, 2, 3])
    assert np.array_equal(np.sort(values["ent_coef"]), [0.0, 0.0, 0.1, 0.1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--population", "0"], "population (0) must be at least 1"),
        (["--population", "4", "--trials", "4", "--no-pruning"], "one program: leave --trials, --no-pruning out"),
        (["--population", "4", "--search", "torso=gru,lru"], "torso ('gru', 'lru') cannot be varied in one program"),
    ],
)
def test_wrong_words_are_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "mine.json"
    settings.write_text(json.dumps(config_to_json(SMALL)))
    assert main(["sweep", str(settings), *arguments]) == 2
    assert message in capsys.readouterr().err


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
