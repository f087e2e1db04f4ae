"""Learning curves of every algorithm: `python -m benchmarks.results NAME...`, or `--plot` to draw them all.

An experiment trains three seeds in one program and evaluates the greedy policy at intervals. Its curve goes to
`docs/results/NAME.csv`, and the seconds it took to `docs/results/seconds.csv`.
"""

from __future__ import annotations

import csv
import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from memorax.evaluation import mean_return
from memorax.laboratory.presets import load_preset
from memorax.training import TrainConfig, build_agent

RESULTS = Path(__file__).parent.parent / "docs" / "results"
SECONDS = RESULTS / "seconds.csv"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is trained, and how well it is to do.

    Attributes:
        config: Settings of the agent; `total_steps` is the budget.
        bar: Mean return of the greedy policy that every seed is to reach at the end.
        reference: What is published, with its budget; or what chance gives.
        num_evaluations: Evaluations over the run.
        evaluation_length: Steps of each environment in an evaluation.
        stays_below: Whether it is the other way round: without a memory, say, no seed is to reach the bar.
    """

    config: TrainConfig
    bar: float
    reference: str
    num_evaluations: int = 20
    evaluation_length: int = 1000
    stays_below: bool = False

    def holds(self, returns: np.ndarray) -> bool:
        """Whether the last of the returns `[E, num_seeds]` are as they are to be."""
        return bool((returns[-1] < self.bar).all() if self.stays_below else (returns[-1] >= self.bar).all())


def _of(
    name: str, bar: float, reference: str, num_evaluations: int = 20, evaluation_length: int = 1000
) -> dict[str, Experiment]:
    """The experiment that a preset is justified by."""
    return {name: Experiment(load_preset(name), bar, reference, num_evaluations, evaluation_length)}


def _memoryless(
    name: str, preset: str, bar: float, reference: str, num_evaluations: int = 20, evaluation_length: int = 1000
) -> dict[str, Experiment]:
    """The experiment of a preset with no memory, which must stay below the bar."""
    config = dataclasses.replace(load_preset(preset), torso="mlp")
    return {name: Experiment(config, bar, reference, num_evaluations, evaluation_length, stays_below=True)}


LONGEST, SIGN, CARDS = "the longest episode has 500 steps", "0.5 without memory, 1 at best", "-0.5 by chance, 1 at best"
SPREAD = "-66 / 3 at 2 000 000 steps (JaxMARL); by chance -28.4"
"""What returns are compared with."""

EXPERIMENTS: dict[str, Experiment] = {
    **_of("ac_lambda_rtu_memory_chain_30", 0.9, "0 without memory, 1 at best", evaluation_length=3100),
    **_of("ppo_cartpole", 475, LONGEST),
    **_of("dqn_cartpole", 475, LONGEST),
    **_of("pqn_cartpole", 475, "495 at 500 000 steps (CleanRL)"),
    **_of("ippo_gru_spread", -70 / 3, SPREAD, 10, evaluation_length=104),
    **_of("mappo_gru_spread", -70 / 3, SPREAD, 10, evaluation_length=104),
    **_of("ppo_gru_tmaze", 0.95, SIGN, evaluation_length=200),
    **_memoryless("ppo_mlp_tmaze", "ppo_gru_tmaze", 0.6, SIGN, evaluation_length=200),
    **_of("dqn_gru_tmaze", 0.95, SIGN, evaluation_length=200),
    **_memoryless("dqn_mlp_tmaze", "dqn_gru_tmaze", 0.6, SIGN, evaluation_length=200),
    **_of("r2d2_gru_tmaze", 0.95, SIGN, evaluation_length=200),
    **_memoryless("r2d2_mlp_tmaze", "r2d2_gru_tmaze", 0.6, SIGN, evaluation_length=200),
    **_of("pqn_gru_tmaze", 0.95, SIGN, evaluation_length=200),
    **_memoryless("pqn_mlp_tmaze", "pqn_gru_tmaze", 0.6, SIGN, evaluation_length=200),
    **_of("r2d2_lstm_repeat_previous", 0.9, CARDS, evaluation_length=160),
    **_of("r2d2_lru_repeat_previous", 0.9, CARDS, evaluation_length=160),
    **_of("sac_mlp_pendulum", -200, "-1200 by chance, about -150 at best", 10, evaluation_length=400),
    **_of(
        *("sac_gru_position_only_pendulum", -300, "recurrent PPO has -218 after 100,000 steps", 10),
        evaluation_length=400,
    ),
    **_memoryless(
        *("sac_mlp_position_only_pendulum", "sac_gru_position_only_pendulum", -800, "-1200 by chance", 10),
        evaluation_length=400,
    ),
    **_of("sac_gru_repeat_previous", 0.9, CARDS, 10, evaluation_length=400),
    **_of("sac_gru_tmaze", 0.95, SIGN, 10, evaluation_length=400),
    **_of("pqn_gru_memory_chain", 0.9, "0 by chance, 1 at best", evaluation_length=320),
}
"""Every experiment, by its name."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to do.

    Attributes:
        names: Experiments to run, by name.
        plot: Draw the curves of all experiments that were run, and print the table.
        num_seeds: Agents trained side by side.
        seed: Random seed of the first.
        write: Keep the results in docs/results.
    """

    names: Annotated[list[str], tyro.conf.Positional] = dataclasses.field(default_factory=list)
    plot: bool = False
    num_seeds: int = 3
    seed: int = 0
    write: bool = True


def learning_curve(experiment: Experiment, num_seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train seeds side by side.

    Returns:
        Environment steps `[E]` at the evaluations, and the mean returns there, `[E, num_seeds]`.
    """
    agent = build_agent(experiment.config)
    interval = -(-experiment.config.total_steps // experiment.num_evaluations)
    length = experiment.evaluation_length * agent.cfg.num_envs

    @jax.jit
    @jax.vmap
    def evaluate(key: jax.Array, state: Any) -> jax.Array:
        return mean_return(agent.evaluate(key, state, length)[1])

    def advance(key: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        key, state, _ = agent.train(key, state, interval, keep=_nothing)
        return key, state

    advance_all = jax.jit(jax.vmap(advance), donate_argnums=1)
    keys, states = jax.jit(jax.vmap(agent.init))(jax.random.split(jax.random.key(seed), num_seeds))
    steps, curves = [], []
    for index in range(experiment.num_evaluations):
        keys, states = advance_all(keys, states)
        curves.append(np.asarray(evaluate(jax.random.split(jax.random.key(index), num_seeds), states)))
        steps.append(int(states.step[0]))
        print(f"{steps[-1]:>10,} steps: {np.array2string(curves[-1], precision=3)}", flush=True)
    return np.asarray(steps), np.stack(curves)


def _nothing(transition: Any, metrics: Any) -> tuple[()]:
    return ()


def write(name: str, steps: np.ndarray, returns: np.ndarray, seconds: float) -> None:
    """Keep a curve, and the time it took, in place of the former one."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    header = ",".join(["step", *(f"seed_{i}" for i in range(returns.shape[1]))])
    table = np.column_stack([steps, returns])
    formats = ["%d", *(["%.5g"] * returns.shape[1])]
    np.savetxt(RESULTS / f"{name}.csv", table, formats, delimiter=",", header=header, comments="")
    known = {**read_seconds(), name: round(seconds)}
    with SECONDS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("name", "seconds"), *sorted(known.items())])


def read_seconds() -> dict[str, int]:
    """The time that each experiment took when it was run last."""
    if not SECONDS.exists():
        return {}
    with SECONDS.open(newline="") as file:
        return {row["name"]: int(row["seconds"]) for row in csv.DictReader(file)}


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The curve of an experiment that was run: environment steps `[E]` and mean returns `[E, num_seeds]`."""
    table = np.genfromtxt(RESULTS / f"{name}.csv", delimiter=",", skip_header=1)
    return table[:, 0].astype(int), table[:, 1:]


def markdown() -> str:
    """The table of results: a row for each experiment that was run."""
    lines = [
        "| experiment | environment steps | bar | return of each seed | to compare | minutes |",
        "|---|---:|---:|---:|---|---:|",
    ]
    for name, seconds in sorted(read_seconds().items(), key=lambda item: list(EXPERIMENTS).index(item[0])):
        experiment, (steps, returns) = EXPERIMENTS[name], read(name)
        bar = f"{'below ' * experiment.stays_below}{experiment.bar:.4g}"
        seeds = ", ".join(f"{value:.4g}" for value in returns[-1])
        cells = (name, f"{steps[-1]:,}", bar, seeds, experiment.reference, f"{seconds / 60:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the experiments named, and draw."""
    options = tyro.cli(Options, description=__doc__)
    unknown = [name for name in options.names if name not in EXPERIMENTS]
    if unknown:
        raise SystemExit(f"error: unknown experiment {unknown[0]!r}: choose from {', '.join(EXPERIMENTS)}")
    for name in options.names:
        experiment = EXPERIMENTS[name]
        print(f"{name}: {options.num_seeds} seeds, {experiment.config.total_steps:,} steps each", flush=True)
        begin = time.monotonic()
        steps, returns = learning_curve(experiment, options.num_seeds, options.seed)
        seconds = time.monotonic() - begin
        print(f"{'holds' if experiment.holds(returns) else 'DOES NOT HOLD'} in {seconds:.0f} s", flush=True)
        if options.write:
            write(name, steps, returns, seconds)
    if options.plot:
        draw()
        print(markdown())


def draw() -> None:
    """Draw every curve in `docs/results`, a panel for each experiment, into `docs/results/curves.png`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in EXPERIMENTS if (RESULTS / f"{name}.csv").exists()]
    columns = 4
    figure, axes = plt.subplots(
        -(-len(names) // columns), columns, figsize=(4 * columns, 2.8 * -(-len(names) // columns)), squeeze=False
    )
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for name, axis in zip(names, axes.flat, strict=False):
        axis.plot(*read(name), color="tab:blue", linewidth=1, alpha=0.8)
        axis.axhline(EXPERIMENTS[name].bar, color="tab:red", linewidth=1, linestyle="--")
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("mean return of the greedy policy; each line is a seed, dashed the bar", fontsize=9)
    figure.tight_layout()
    figure.savefig(RESULTS / "curves.png", dpi=90)


if __name__ == "__main__":
    main()
