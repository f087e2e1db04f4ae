"""How training scales over devices: `python -m benchmarks.scaling [--seeds 1 4 16] [--devices 1 2]`.

PPO with a GRU on CartPole (as in `benchmarks.speed`), several seeds in one program: environment steps per second of all
seeds together on each number of devices. One seed shares its environments and minibatches among them. The programs run
in turn, and the median counts, so that other work on the machine slows all of them alike.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console

from benchmarks import speed
from memorax.training.devices import cores_to_devices, make_placement
from memorax.training.summary import summarize


@dataclass(frozen=True)
class Options:
    """What to measure."""

    seeds: list[int] = field(default_factory=lambda: [1, 4, 16, 64, 256])
    devices: list[int] = field(default_factory=lambda: [1, 2])
    seed_iterations: int = 32
    """Iterations of a measurement, over all seeds."""
    repeats: int = 5


def program(num_seeds: int, devices: int, iterations: int) -> Any:
    """A call of the compiled chunk, as the training loop makes it."""
    agent = speed.make_agent("gru", speed.Options())
    placement = make_placement(agent.env, agent.cfg.num_envs, num_seeds, devices)
    keys = placement.place(jax.vmap(jax.random.key)(np.arange(num_seeds)))
    arguments = placement.place(jax.jit(placement.over_agents(agent.init))(keys))
    num_steps = iterations * agent.steps_per_iteration
    chunk = placement.updating_agents(lambda key, state: agent.train(key, state, num_steps, summarize))
    with placement.context:
        compiled = jax.jit(chunk).trace(*arguments).lower().compile()
    return num_seeds * num_steps, lambda: jax.block_until_ready(compiled(*arguments))


def measure(num_seeds: int, options: Options) -> list[float]:
    """Steps per second on each number of devices."""
    iterations = max(1, options.seed_iterations // num_seeds)
    programs = [program(num_seeds, devices, iterations) for devices in options.devices]
    seconds: list[list[float]] = [[] for _ in programs]
    for repeat in range(options.repeats + 1):
        for (_, call), times in zip(programs, seconds, strict=True):
            begin = time.perf_counter()
            call()
            if repeat:  # the first call warms up
                times.append(time.perf_counter() - begin)
    return [steps / statistics.median(times) for (steps, _), times in zip(programs, seconds, strict=True)]


def main(options: Options) -> None:
    """Print the table, a row at a time."""
    cores_to_devices(max(options.devices))
    console = Console()
    header = ("seeds", *(f"steps/s on {devices}" for devices in options.devices), "ratio")
    for row in (header, ("---",) * len(header)):
        console.print("| " + " | ".join(row) + " |", highlight=False, soft_wrap=True)
    for num_seeds in options.seeds:
        speeds = measure(num_seeds, options)
        row = (str(num_seeds), *(f"{value:,.0f}" for value in speeds), f"{speeds[-1] / speeds[0]:.2f}")
        console.print("| " + " | ".join(row) + " |", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
