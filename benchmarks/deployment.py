"""What an exported policy weighs and how fast it acts, by torso: the table of docs/deployment.md.

    python -m benchmarks.deployment                     # every torso, a line of the table each
    python -m benchmarks.deployment gru lru --actions 500

Times are those of the processor. Load is the time from a folder to the first action, compilation included; then one
environment is acted in, step by step, and the fastest of ten stretches counts: what else the machine does disturbs the
others. Policies are not trained.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memorax.algorithms import PPOConfig
from memorax.deployment import Policy, export_policy, load_policy
from memorax.deployment.acting import Acting, make_program, take_params
from memorax.environments.interface import describe_interface
from memorax.environments.playback import PlaybackEnvironment
from memorax.environments.spaces import Box, Discrete
from memorax.networks import TORSOS
from memorax.training import TrainConfig, build_agent
from memorax.training.checkpoints import named_leaves

FEATURES = 64
OBSERVATION = 4
STRETCHES = 10
HEADER = """\
| torso | StableHLO KiB | load s | us per action | ONNX KiB | load s | us per action |
|---|---:|---:|---:|---:|---:|---:|"""


def untrained_policy(torso: str) -> Policy:
    """A policy with small random parameters."""
    config = TrainConfig(torso=torso, features=FEATURES, hyperparameters=PPOConfig(num_envs=1, num_minibatches=1))
    space = Box(-np.inf, np.inf, (OBSERVATION,))
    agent = build_agent(config, (PlaybackEnvironment(space, Discrete(2)), None))
    interface = describe_interface(agent.env, None)
    acting, random = Acting(agent, interface), np.random.default_rng(0)
    _, state = jax.eval_shape(agent.init, jax.random.key(0))
    shapes = dict(named_leaves(state))
    arrays = {
        name: (0.1 * random.normal(size=shapes[name].shape)).astype(shapes[name].dtype)
        for name in acting.sources(shapes).values()
    }
    return Policy(make_program(agent, interface, acting, take_params(acting, arrays)))


def measure(load: Callable[[], Callable[..., Any]], num_actions: int) -> list[str]:
    """Seconds of loading and of the first action, and microseconds of each that follows."""
    observations = np.random.default_rng(0).normal(size=(num_actions // STRETCHES, OBSERVATION)).astype(np.float32)
    started = time.process_time()
    act = load()
    act(observations[0], 0.0, True)
    loading = time.process_time() - started
    stretches = []
    for _ in range(STRETCHES):
        started = time.process_time()
        for observation in observations:
            act(observation, 1.0, False)
        stretches.append((time.process_time() - started) / len(observations))
    return [f"{loading:.2f}", f"{1e6 * min(stretches):.0f}"]


def row(torso: str, num_actions: int) -> str:
    """A line of the table."""
    from onnx_policy import OnnxPolicy

    with tempfile.TemporaryDirectory() as name:
        folder = export_policy(untrained_policy(torso), Path(name) / "policy")
        size = {path.name: path.stat().st_size / 1024 for path in folder.iterdir()}
        stablehlo = size["greedy.stablehlo"] + size["params.safetensors"]
        cells = [f"{stablehlo:.0f}", *measure(lambda: load_policy(folder), num_actions)]
        if "greedy.onnx" in size:
            cells += [f"{size['greedy.onnx']:.0f}", *measure(lambda: OnnxPolicy(str(folder)), num_actions)]
        else:
            cells += [json.loads((folder / "manifest.json").read_text())["programs"]["onnx"]["reason"], "", ""]
    return f"| `{torso}` | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("torsos", nargs="*", help="names of torsos; by default all")
    parser.add_argument("--actions", type=int, default=1000, help="actions to take")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    print(HEADER, flush=True)
    for torso in arguments.torsos or TORSOS:
        print(row(torso, arguments.actions), flush=True)


if __name__ == "__main__":
    main()
