"""Run folders without a run: what plots read, with values that are easy to check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STEPS = (10, 20, 30, 40)


def make_run(
    folder: Path, seeds: tuple[int, ...], offset: float = 0.0, steps: Sequence[int] = STEPS, **settings: Any
) -> Path:
    """A run whose return at each step is `offset` + step + seed, evaluated at every second of `STEPS`.

    `settings` are added to those of `config.json`; without `hyperparameters` (`None`) it is a run made in Python.
    """
    folder.mkdir(parents=True)
    config = {"environment": "suite::Task", "algorithm": "ppo", "torso": "gru", "seed": seeds[0]}
    config |= {"num_seeds": len(seeds), "hyperparameters": {"gamma": 0.99}} | settings
    if config["hyperparameters"] is None:
        config = {name: config[name] for name in settings if settings[name] is not None}
    (folder / "config.json").write_text(json.dumps({"memorax": "0.0.0", "config": config}))
    lines = ["seed,step,seconds,return,evaluation_return,evaluation_unfinished"]
    for step in steps:
        for seed in seeds:
            value = offset + step + seed
            lines.append(f"{seed},{step},1.0,{value}," + (f"{value},0" if step % 20 == 0 else ","))
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


def add_facts(folder: Path, **facts: Any) -> Path:
    """Put facts beside the settings of a run's `config.json`, or in place of those that stand there."""
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **facts}))
    return folder
