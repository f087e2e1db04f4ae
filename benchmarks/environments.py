"""The table of docs/environments.md: `python -m benchmarks.environments [--suites navix brax]`.

Makes and runs every suite that is installed, and rewrites its row; the rows of suites that are not installed stay as
they were, so that suites which cannot be installed together are measured one after the other.
"""

from __future__ import annotations

import importlib.metadata
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import tyro
from rich.console import Console

import memorax
from memorax.environments import Environment
from memorax.environments.make import load
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space

PAGE = Path(__file__).parent.parent / "docs" / "environments.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
HEADER = (
    "suite",
    "package",
    "licence",
    "ids",
    "example",
    "observation",
    "action",
    "how time limits arrive",
    "steps/s",
    "draws",
)


@dataclass(frozen=True)
class Example:
    """What is run of a suite.

    Attributes:
        package: its distribution; none where the suite is built in.
        id: the environment.
        limits: how the package tells time limits from ends, and what the adapter makes of it.
        options: what the environment is made with.
    """

    package: str | None
    id: str
    limits: str
    options: dict[str, Any] = field(default_factory=dict)


COUNTED = "counted by the adapter"
EXAMPLES = {
    "ale": Example("ale-py", "breakout", "flags apart"),
    "brax": Example("brax", "inverted_pendulum", COUNTED, {"backend": "spring"}),
    "craftax": Example("craftax", "Craftax-Classic-Symbolic-v1", "merged by the package, taken apart"),
    "envpool": Example("envpool", "CartPole-v1", "flags apart"),
    "gxm": Example("gxm", "Navix/Navix-DoorKey-8x8-v0", "as the suite a name leads to"),
    "gymnasium": Example("gymnasium", "CartPole-v1", "flags apart"),
    "gymnax": Example("gymnax", "CartPole-v1", "flags apart; before 1.0 merged, taken apart"),
    "jaxmarl": Example("jaxmarl", "MPE_simple_spread_v3", "merged by the package, taken apart"),
    "jumanji": Example("jumanji", "Snake-v1", "mostly merged by the package, taken apart"),
    "memory": Example(None, "TMaze", "no time limits"),
    "mujoco_playground": Example("playground", "CartpoleBalance", COUNTED),
    "navix": Example("navix", "Navix-DoorKey-8x8-v0", "flags apart; its late reset is bypassed"),
    "pobax": Example("pobax", "tmaze_10", COUNTED),
    "popgym": Example(None, "RepeatPreviousEasy", "flags apart"),
    "popgym_arcade": Example("popgym-arcade", "CountRecallEasy", "flags apart; where both are set, the limit"),
    "pufferlib": Example("pufferlib", "puffer_cartpole", "ends alone; a limit told as such is an error"),
    "xminigrid": Example("xminigrid", "MiniGrid-DoorKey-8x8", "flags apart, by the discount"),
}


@dataclass(frozen=True)
class Options:
    """What to measure."""

    suites: list[str] = field(default_factory=lambda: list(EXAMPLES))
    num_envs: int = 64
    num_steps: int = 100
    repeats: int = 3


def steps_per_second(env: Environment, params: Any, options: Options) -> float:
    """Steps of all agents of a batch under random actions per second by the clock, of the fastest of several runs."""
    batch, space = env.vectorize(options.num_envs), env.action_space(params)

    @jax.jit
    def play(key: jax.Array, state: Any) -> Any:
        def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            action_key, step_key = jax.random.split(key)
            action = jax.vmap(space.sample)(jax.random.split(action_key, batch.batch_size))
            _, state, reward, *_ = batch.step(step_key, state, action, params)
            return state, reward

        return jax.lax.scan(step, state, jax.random.split(key, options.num_steps))

    state = jax.block_until_ready(jax.jit(batch.reset)(jax.random.key(0), params)[1])
    best = float("inf")
    for repeat in range(options.repeats + 1):  # the first compiles
        begin = time.perf_counter()
        state, _ = jax.block_until_ready(play(jax.random.key(repeat), state))
        best = min(best, time.perf_counter() - begin) if repeat else best
    return batch.batch_size * options.num_steps / best


def licence(package: str) -> str:
    """The licence a package states, in a few words."""
    metadata = importlib.metadata.metadata(package)
    stated = metadata.get("License-Expression") or metadata.get("License") or ""
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License ::" in line]
    first = stated.strip().splitlines()[0].strip() if stated.strip() else ""
    return first if 0 < len(first) <= 40 else ", ".join(classifiers) or first or "not stated"


def kind(space: Space) -> str:
    """A space in a word or two."""
    match space:
        case Discrete():
            return f"{space.n} choices"
        case MultiDiscrete():
            return f"{len(space.nvec)} x choices"
        case Box():
            name = (
                "numbers"
                if jax.numpy.issubdtype(space.dtype, jax.numpy.floating)
                else str(jax.numpy.dtype(space.dtype))
            )
            return f"{name} {list(space.shape)}"
        case Dict():
            return "dictionary of " + ", ".join(space.spaces)
    return type(space).__name__


def row(suite: str, example: Example, options: Options) -> tuple[str, ...]:
    """What there is to say of a suite, having run it."""
    env, params = memorax.make(f"{suite}::{example.id}", **example.options)
    speed = steps_per_second(env, params, options)
    version = f"{example.package} {importlib.metadata.version(example.package)}" if example.package else "built in"
    shown = " ".join([example.id, *(f"{name}={value}" for name, value in example.options.items())])
    return (
        f"`{suite}`",
        version,
        licence(example.package or "memorax"),
        str(len(load(suite).ids())),
        shown + (f" ({env.num_agents} agents)" if env.num_agents > 1 else ""),
        kind(env.observation_space(params)),
        kind(env.action_space(params)),
        example.limits,
        f"{float(f'{speed:.2g}'):,.0f}".replace(",", " "),
        "yes" if env.renders else "no",
    )


def write(suite: str, line: str) -> None:
    """Put the row of a suite in the table of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {match[1]: line for line in table.splitlines() if (match := re.match(r"\| `(\w+)` \|", line))}
    rows[suite] = line
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER), *(rows[suite] for suite in sorted(rows))]
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)


def main(options: Options) -> None:
    """Measure, and write the table."""
    console = Console()
    for suite in options.suites:
        begin = time.perf_counter()
        try:
            line = "| " + " | ".join(row(suite, EXAMPLES[suite], options)) + " |"
        except (ImportError, OSError, ValueError) as error:
            console.print(f"{suite}: {error}", highlight=False)
            continue
        write(suite, line)
        console.print(f"{line} ({time.perf_counter() - begin:.0f} s)", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
