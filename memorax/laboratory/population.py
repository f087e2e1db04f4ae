"""Trains many settings of continuous hyperparameters in one program, which is compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from memorax.evaluation import mean_return
from memorax.laboratory.search_space import with_values
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
        returns = np.nan_to_num(self.returns.mean(axis=1), nan=-np.inf)
        best = int(np.argmax(returns))
        return {name: float(column[best]) for name, column in self.values.items()}


def train_population(
    config: TrainConfig, values: Mapping[str, Array], evaluation_steps: int | None = None
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


RATES = ("learning_rate", "critic_learning_rate")
