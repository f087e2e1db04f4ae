"""bsuite's memory length by torso: a grid for `memorax benchmark`, and the table of what came of it.

    memorax benchmark benchmarks/memory_length.py
    python -m benchmarks.memory_length runs/memory_length

A bit is shown at the first step of an episode and asked for at the last one, while a clock counts down. There are 23
lengths (bsuite, Osband et al., 2019, `memory_len`), and for each a quarter of the 10 000 episodes that bsuite gives.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from rich.console import Console

from memorax.evaluation import read_metrics

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)
EPISODES = 2_500
TORSOS = (
    "gru",
    "lru",
    {"name": "attention", "torso": "attention", "torso_options": {"context_length": 128}},
)
SOLVED = 0.25
"""Mean return of all episodes from which on a length counts: less than three quarters of the regret of random play."""

REMEMBERED = 0.9
"""Return of the greedy policy from which on a length is remembered; guesses have 0 on average."""

NUM_ENVS = 16


def _length(length: int) -> dict[str, object]:
    """One rollout is an episode in each environment."""
    steps = length + 1
    return {
        "name": str(length),
        "environment_options": {"memory_length": length},
        "num_steps": steps,
        "total_steps": EPISODES * steps,
        "evaluation_interval": EPISODES * steps,
        "evaluation_steps": 4 * NUM_ENVS * steps,
    }


GRID = {
    "name": "memory_length",
    "num_seeds": 5,
    "defaults": {
        "environment": "gymnax::MemoryChain-bsuite",
        "algorithm": "ppo",
        "features": 64,
        "num_envs": NUM_ENVS,
        "learning_rate": 1e-3,
    },
    "grid": {"torso": list(TORSOS), "length": [_length(length) for length in LENGTHS]},
}


def returns(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of each seed the mean return of all episodes in training, and of the greedy policy's at the end: `[seeds]`."""
    metrics = read_metrics(folder)
    means, last = [], []
    for seed in np.unique(metrics["seed"]):
        rows = {name: values[metrics["seed"] == seed] for name, values in metrics.items()}
        episodes = rows["episodes"]
        means.append(np.nansum(rows["return"] * episodes) / episodes.sum())
        last.append(rows["evaluation_return"][~np.isnan(rows["evaluation_return"])][-1])
    return np.array(means), np.array(last)


@dataclass(frozen=True)
class Options:
    """What to show."""

    folder: tyro.conf.Positional[Path]
    """The folder of the grid's runs."""
    output: Path = Path("docs/results/memory_length")
    """Folder for `returns.csv` and the picture."""


def main(options: Options) -> None:
    """Print a row for each torso, write every number to a file and draw them over the lengths."""
    rows = []
    for torso in TORSOS:
        name = torso["name"] if isinstance(torso, dict) else torso
        for length in LENGTHS:
            for seed, (mean, last) in enumerate(zip(*returns(options.folder / f"{name}-{length}"), strict=True)):
                rows.append((name, length, seed, mean, last))
    options.output.mkdir(parents=True, exist_ok=True)
    with open(options.output / "returns.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("torso", "length", "seed", "mean_return_of_all_episodes", "greedy_return_at_the_end"))
        writer.writerows((*row[:3], f"{row[3]:.4f}", f"{row[4]:.4f}") for row in rows)

    table = pd.DataFrame(rows, columns=["torso", "length", "seed", "mean", "last"])
    console = Console()
    console.print("| torso | score | of each seed | runs that remember at the end |", soft_wrap=True)
    console.print("| --- | ---: | --- | ---: |", soft_wrap=True)
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for torso, of_torso in table.groupby("torso", sort=False):
        scores = (of_torso["mean"] > SOLVED).groupby(of_torso["seed"]).mean()
        remembered = f"{(of_torso['last'] > REMEMBERED).sum()} of {len(of_torso)}"
        each = ", ".join(f"{score:.2f}" for score in scores)
        console.print(f"| {torso} | {scores.mean():.2f} | {each} | {remembered} |", highlight=False, soft_wrap=True)
        by_length = of_torso.groupby("length")["mean"]
        axes.plot(by_length.mean(), label=torso)
        axes.fill_between(by_length.min().index, by_length.min(), by_length.max(), alpha=0.2)
    axes.axhline(SOLVED, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="steps to remember a bit for", ylabel=f"mean return of {EPISODES:,} episodes")
    figure.legend(loc="outside right center", title="mean and range\nof the seeds")
    figure.savefig(options.output / "returns.svg")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
