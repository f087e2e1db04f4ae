"""Training speed and memory of algorithms: `python -m benchmarks.algorithms [--algorithms dqn r2d2] [--torso gru]`.

CartPole (Pendulum where an algorithm has continuous actions alone), the algorithm's default hyperparameters, 64
features. Prints the training steps per second once replay has begun; how much longer an iteration of `--num-seeds`
seeds side by side takes than one seed's, per seed; and, for replay, how much the peak of resident memory grows with the
buffer: the growth from a buffer of 100 000 steps to one of `--large-buffer`, over the growth of the buffer itself.
`python -m benchmarks.speed --algorithms dqn` is the same.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import tyro
from rich.console import Console
from rich.table import Table

from memorax.algorithms import ALGORITHMS
from memorax.training import TrainConfig, build_agent

LEFT_OUT = ("ippo", "mappo")
"""They are PPO where one agent acts."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    algorithms: list[str] = dataclasses.field(default_factory=lambda: [n for n in ALGORITHMS if n not in LEFT_OUT])
    torso: str = "gru"
    num_seeds: int = 16
    seconds: float = 5.0
    large_buffer: int = 5_000_000


def nothing(transition: Any, metrics: Any) -> tuple[()]:
    """Keep nothing of an iteration."""
    return ()


def make_agent(algorithm: str, torso: str, **hyperparameters: Any) -> Any:
    """The agent that is measured."""
    config = ALGORITHMS[algorithm][1](**hyperparameters)
    settings = {"environment": "gymnax::CartPole-v1", "algorithm": algorithm, "torso": torso}
    return build_agent(TrainConfig(hyperparameters=config, **settings))


def measure(algorithm: str, options: Options) -> dict[str, str]:
    """The speed of an algorithm, for its row."""
    agent = make_agent(algorithm, options.torso)
    alone = iteration_seconds(agent, 1, options.seconds)
    many = iteration_seconds(agent, options.num_seeds, options.seconds)
    return {
        "steps/s": f"{agent.steps_per_iteration / alone:,.0f}",
        "iteration, ms": f"{1e3 * alone:.2f}",
        f"per seed of {options.num_seeds}": f"{many / options.num_seeds / alone:.2f}",
    }


def peak_memory(algorithm: str, torso: str, buffer_size: int) -> tuple[int, int]:
    """Bytes of the replay buffer, and of the process's largest resident memory, after some training."""
    agent = make_agent(algorithm, torso, buffer_size=buffer_size)
    buffer = jax.eval_shape(agent.init, jax.random.key(0))[1].buffer
    iteration_seconds(agent, 1, 1.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(buffer)), peak


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def iteration_seconds(agent: Any, num_seeds: int, seconds: float) -> float:
    """Shortest mean time of an iteration, over calls of `train` of about half a second, after replay has begun."""
    starts = getattr(agent.cfg, "learning_starts", 0)
    calls = max(1, 2048 // agent.steps_per_iteration)
    num_steps = calls * agent.steps_per_iteration

    def init(key: Any) -> Any:
        key, state = agent.init(key)
        return agent.warmup(key, state, starts) if starts else (key, state)

    def train(key: Any, state: Any) -> Any:
        return agent.train(key, state, num_steps, nothing)[:2]

    if num_seeds == 1:
        key, state = init(jax.random.key(0))
        step = train
    else:
        key, state = jax.jit(jax.vmap(init))(jax.random.split(jax.random.key(0), num_seeds))
        step = jax.jit(jax.vmap(train), donate_argnums=1)
    key, state = jax.block_until_ready(step(key, state))
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        key, state = jax.block_until_ready(step(key, state))
        best = min(best, time.perf_counter() - start)
    return best / calls


def print_table(options: Options) -> None:
    """Measure every algorithm and print the table."""
    rows = {}
    for algorithm in options.algorithms:
        row = alone(measure, algorithm, options)
        if ALGORITHMS[algorithm][0].replays:
            small, small_peak = alone(peak_memory, algorithm, options.torso, 100_000)
            large, large_peak = alone(peak_memory, algorithm, options.torso, options.large_buffer)
            row["buffer, MB"] = f"{large / 1e6:.0f}"
            row["memory / buffer"] = f"{(large_peak - small_peak) / (large - small):.2f}"
        rows[algorithm] = row
        print(algorithm, row, flush=True)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table(title=f"CartPole, {options.torso}, jax {jax.__version__} on {jax.default_backend()}")
    table.add_column("algorithm")
    for column in columns:
        table.add_column(column, justify="right")
    for algorithm, row in rows.items():
        table.add_row(algorithm, *(row.get(column, "") for column in columns))
    Console(width=120).print(table)


if __name__ == "__main__":
    print_table(tyro.cli(Options, description=__doc__))
