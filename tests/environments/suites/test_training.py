"""PPO with a GRU trains on every suite, by the command line; `python -m benchmarks.training` does so for longer."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from benchmarks.environments import EXAMPLES, Example
from benchmarks.training import NUM_ENVS, arguments, read
from memorax.cli import main

NUM_STEPS = 8
NOT_INSTALLED = ("pufferlib",)
MORE = {
    "brax::halfcheetah": Example("brax", "halfcheetah", "", {"backend": "positional"}),
    "jaxmarl::SMAX": Example("jaxmarl", "SMAX", "", {"num_allies": 2, "num_enemies": 2}),
    "jaxmarl::hanabi": Example("jaxmarl", "hanabi", ""),
    "jaxmarl::jaxnav": Example("jaxmarl", "jaxnav", "", {"num_agents": 2}),
}
RUNS = {f"{suite}::{example.id}": example for suite, example in EXAMPLES.items() if suite not in NOT_INSTALLED} | MORE


@pytest.mark.parametrize("run", RUNS)
def test_an_agent_is_trained_and_evaluated(run: str, tmp_path: Path) -> None:
    settings = arguments(run.partition("::")[0], RUNS[run], tmp_path / "run", 2 * NUM_ENVS * NUM_STEPS, NUM_ENVS)
    assert main(["train", *settings, "--num-steps", str(NUM_STEPS), "--features", "16"]) == 0
    rows = read(tmp_path / "run")
    assert [row["step"] for row in rows] == [NUM_ENVS * NUM_STEPS, 2 * NUM_ENVS * NUM_STEPS]
    assert all(abs(row[name]) < float("inf") for row in rows for name in ("policy_loss", "critic_loss", "entropy"))
    assert all(row["actor_skipped_updates"] == 0 for row in rows)
    jax.clear_caches()
