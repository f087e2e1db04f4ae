"""Trains many settings of continuous hyperparameters in one program, which is compiled once."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from memorax.evaluation import mean_return
from memorax.laboratory.command_line import command_line
from memorax.laboratory.search_space import Range, Space, with_values
from memorax.laboratory.sweep import REPORT_FILE, markdown_table
from memorax.random_keys import key_for
from memorax.training.config import TrainConfig, build_agent
from memorax.types import Array, Key


@dataclass(frozen=True)
class Population:
    """What became of many settings.

    Attributes:
        values: the values of each hyperparameter, `[N]`.
        returns: the mean return of the evaluation after training, `[N, num_seeds]`.
    """

    values: Mapping[str, np.ndarray]
    returns: np.ndarray

    @property
    def best(self) -> dict[str, float]:
        """The values with the highest return, mean over seeds; NaN is the lowest."""
        return self.member(int(self.order[0]))

    @property
    def order(self) -> np.ndarray:
        """Indices `[N]` of the settings, from the highest return to the lowest; NaN is the lowest."""
        return np.argsort(-np.nan_to_num(self.returns.mean(axis=1), nan=-np.inf), stable=True)

    def member(self, index: int) -> dict[str, float]:
        """The values of one setting."""
        return {name: float(column[index]) for name, column in self.values.items()}


def train_population(
    config: TrainConfig, values: Mapping[str, npt.ArrayLike], evaluation_steps: int | None = None
) -> Population:
    """Train each seed of a config with each of `N` settings of hyperparameters, all in one program.

    There are no run folders and no checkpoints: it is for finding values, of small networks above all. What changes
    shapes or the course of the program (numbers of steps, widths, names) cannot be varied so.

    Args:
        config: the settings that all share.
        values: for each learning rate or continuous hyperparameter its values, `[N]`.
        evaluation_steps: environment steps of the evaluation, over all environments; by default 1024 in each.

    Raises:
        ValueError: if the numbers of values differ, or one is of a setting that cannot be varied so.
    """
    columns = {name: np.asarray(column, np.float32) for name, column in values.items()}
    sizes = {column.shape for column in columns.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        shapes = ", ".join(f"{name} {column.shape}" for name, column in columns.items())
        raise ValueError(f"values ({shapes}) must be arrays of the same length")
    for name in columns:
        default = getattr(config if name in RATES else config.hyperparameters, name, None)
        if name not in RATES and not isinstance(default, float):
            raise ValueError(f"{name} ({default!r}) cannot be varied in one program: only rates and numbers can")
    for index in range(len(next(iter(columns.values())))):
        # Each is checked as a plain number: what is traced below cannot be.
        with_values(config, {name: float(column[index]) for name, column in columns.items()})
    steps = 1024 * config.hyperparameters.num_envs if evaluation_steps is None else evaluation_steps

    def returns(values: Mapping[str, Array], key: Key) -> Array:
        agent = build_agent(with_values(config, values))
        key, state = agent.init(key)
        _, state, _ = agent.train(key, state, config.total_steps)
        _, transitions = agent.evaluate(key_for(key, "evaluate a population"), state, steps)
        return mean_return(transitions)

    keys = jax.vmap(jax.random.key)(jnp.arange(config.seed, config.seed + config.num_seeds))
    over_seeds = jax.vmap(returns, in_axes=(None, 0))
    trained = jax.jit(jax.vmap(over_seeds, in_axes=(0, None)))(columns, keys)
    return Population(columns, np.asarray(trained))


def draw_values(spaces: Mapping[str, Space], number: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw `N` settings from a search space, such that the values of each name are spread evenly (a Latin hypercube).

    Args:
        spaces: what each name may be; see `search_space`.
        number: `N`.
        seed: the random seed.

    Returns:
        For each name its values, `[N]`.

    Raises:
        ValueError: if `number` is not positive, or a value is not a number.
    """
    if number < 1:
        raise ValueError(f"population ({number}) must be at least 1")
    points = qmc.LatinHypercube(len(spaces), rng=np.random.default_rng(seed)).random(number)  # (N, names)
    return {name: _values(name, space, column) for (name, space), column in zip(spaces.items(), points.T, strict=True)}


def _values(name: str, space: Space, places: np.ndarray) -> np.ndarray:
    """The values at places from 0 to 1 of a space."""
    if isinstance(space, Range):
        low, high = (np.log([space.low, space.high])) if space.log else (space.low, space.high)
        values = low + places * (high - low)
        return np.exp(values) if space.log else values
    if not all(isinstance(value, int | float) for value in space.values):
        raise ValueError(f"{name} {space.values} cannot be varied in one program: only rates and numbers can")
    return np.asarray(space.values)[(places * len(space.values)).astype(int)]


def write_population(config: TrainConfig, population: Population, folder: Path, most: int = 10) -> str:
    """Write what became of a population: `population.csv` with every setting, and `report.md` with the best.

    Args:
        config: the settings that all share.
        population: the settings and their returns.
        folder: the folder to write to, which is made.
        most: how many of the best settings the report lists.

    Returns:
        The report, as Markdown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size, num_seeds = population.returns.shape
    names = list(population.values)
    with (folder / POPULATION_FILE).open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*names, *(f"return_{config.seed + seed}" for seed in range(num_seeds))])
        table.writerows(
            [*population.member(index).values(), *map(float, population.returns[index])] for index in range(size)
        )
    rows = [[population.returns[i].mean(), *population.member(i).values()] for i in population.order[:most]]
    lines = [
        f"# {size} settings in one program, {num_seeds} seed{'s' * (num_seeds > 1)} each",
        "",
        *markdown_table(["return", *names], rows),
        "",
        "The best settings:",
        "",
        f"    {command_line(with_values(config, population.best))}",
    ]
    text = "\n".join(lines) + "\n"
    (folder / REPORT_FILE).write_text(text)
    return text


POPULATION_FILE = "population.csv"

RATES = ("learning_rate", "critic_learning_rate")
