"""Time, memory and compile time of every sequence model: `python -m benchmarks.sequence_models`.

Forward, and forward and backward, over 16 sequences of 128 to 8192 steps, and one acting step, at 64 features. A time
is the least of several calls; memory is what the program of forward and backward allocates beside its arguments;
compile times are processor seconds and include tracing. Prints a table, writes it to a file with `--table`, and draws
the times per token and the memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from memorax.networks import TORSOS
from memorax.networks.sequence_models import SequenceModel

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        models: their names.
        lengths: steps of a sequence.
        batch_size: sequences.
        features: width of inputs and outputs.
        seconds: how long each program is called, once at least.
        picture: where the picture goes.
        table: where the table goes, as Markdown; it is printed in any case.
    """

    models: list[str] = field(default_factory=lambda: list(TORSOS))
    lengths: list[int] = field(default_factory=lambda: [128, 512, 2048, 8192])
    batch_size: int = 16
    features: int = 64
    seconds: float = 0.5
    picture: Path = Path("docs/images/sequence_models.png")
    table: Path | None = None


def milliseconds(program: Callable[..., Any], arguments: tuple, budget: float) -> float:
    """The least time of a call among those that fit a budget in seconds, after one that does not count."""
    jax.block_until_ready(program(*arguments))
    best, end = float("inf"), time.perf_counter() + budget
    while best == float("inf") or time.perf_counter() < end:
        begin = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        best = min(best, time.perf_counter() - begin)
    return 1e3 * best


def compile_program(function: Callable[..., Any], *arguments: Any) -> tuple[jax.stages.Compiled, float]:
    """The program and the processor seconds it took to trace and compile."""
    begin = time.process_time()
    program = jax.jit(function).lower(*arguments).compile()
    return program, time.process_time() - begin


def data(model: SequenceModel, options: Options, num_steps: int) -> tuple:
    """Random inputs with a few resets, and the carry at the start of an episode."""
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (options.batch_size, num_steps, options.features))
    done = jax.random.bernoulli(keys[1], 0.02, inputs.shape[:2])
    return inputs, done, model.initialize_carry(keys[2], (options.batch_size, options.features))


def measure(model: SequenceModel, options: Options) -> dict[str, float]:
    """Every figure of a model, by the name of its column."""

    def loss(params: Any, inputs: jax.Array, done: jax.Array, carry: Any) -> jax.Array:
        return jnp.mean(model.apply(params, inputs, done, carry)[1] ** 2)

    step = data(model, options, 1)
    params = model.init(jax.random.key(1), *step)
    program, compiling = compile_program(model.apply, params, *step)
    figures = {"step, ms": milliseconds(program, (params, *step), options.seconds), "step, compile s": compiling}
    for length in options.lengths:
        arguments = (params, *data(model, options, length))
        program, _ = compile_program(loss, *arguments)
        figures[f"forward {length}, ms"] = milliseconds(program, arguments, options.seconds)
        program, compiling = compile_program(jax.value_and_grad(loss, argnums=(0, 1)), *arguments)
        figures[f"and backward {length}, ms"] = milliseconds(program, arguments, options.seconds)
        figures[f"memory {length}, MB"] = program.memory_analysis().temp_size_in_bytes / 1e6
        figures["compile, s"] = compiling
    return figures


def markdown(results: Mapping[str, Figures]) -> str:
    """The results as a table, a row for each model."""
    columns = list(next(iter(results.values())))
    lines = [["model", *columns], ["---", *("---:" for _ in columns)]]
    lines += [[name, *(f"{figures[column]:.3g}" for column in columns)] for name, figures in results.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def draw(results: Mapping[str, Figures], options: Options) -> None:
    """A row for each model, fastest first, a dot for each length."""
    longest = options.lengths[-1]
    names = sorted(results, key=lambda name: -results[name][f"and backward {longest}, ms"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 1.5 + 0.24 * len(names)), sharey=True, layout="constrained")
    rows = np.arange(len(names))
    for index, length in enumerate(options.lengths):
        color = plt.get_cmap("viridis")(0.9 * index / max(len(options.lengths) - 1, 1))
        tokens = options.batch_size * length
        times = [1e3 * results[name][f"and backward {length}, ms"] / tokens for name in names]
        left.scatter(times, rows, color=color, label=f"{length} steps")
        right.scatter([results[name][f"memory {length}, MB"] for name in names], rows, color=color)
    left.set_xlabel("microseconds per token, forward and backward")
    right.set_xlabel("memory of forward and backward, MB")
    left.set_yticks(rows, names)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    device = jax.devices()[0].device_kind
    figure.suptitle(f"{options.batch_size} sequences, {options.features} features, {device}")
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.picture, dpi=120)


def main() -> None:
    """Measure, print the table and draw the picture."""
    options = tyro.cli(Options, description=__doc__)
    results = {}
    for name in options.models:
        results[name] = measure(TORSOS[name](options.features), options)
        print(f"{name}: " + ", ".join(f"{column} {figure:.3g}" for column, figure in results[name].items()), flush=True)
    table = markdown(results)
    print(table)
    if options.table is not None:
        options.table.write_text(table)
    draw(results, options)


if __name__ == "__main__":
    main()
