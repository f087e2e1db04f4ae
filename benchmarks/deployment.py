"""What an exported policy weighs and how fast it acts, by torso: the table of docs/deployment.md.

    python -m benchmarks.deployment                     # every torso, one line of the table each
    python -m benchmarks.deployment gru lru --actions 500

Load is the time from a folder to the first action, compilation included; then one environment is acted in, step by
step, and the median over steps is shown. Each torso is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

FEATURES = 64
OBSERVATION = 4
HEADER = """\
| torso | StableHLO KiB | parameters KiB | load s | us per action | ONNX KiB | load s | us per action |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def export(torso: str, folder: Path) -> None:
    """Export an agent that was not trained."""
    import jax

    from memorax.algorithms import PPOConfig
    from memorax.deployment import Policy, export_policy
    from memorax.deployment.acting import program_of
    from memorax.environments.playback import PlaybackEnvironment
    from memorax.environments.spaces import Box, Discrete
    from memorax.training import TrainConfig, build_agent

    config = TrainConfig(torso=torso, features=FEATURES, hyperparameters=PPOConfig(num_envs=1, num_minibatches=1))
    space = Box(-np.inf, np.inf, (OBSERVATION,))
    agent = build_agent(config, (PlaybackEnvironment(space, Discrete(2)), None))
    export_policy(Policy(program_of(agent, agent.init(jax.random.key(0))[1])), folder)


def measure(act: Any, started: float, num_actions: int) -> dict[str, float]:
    """Seconds to the first action since `started`, and the median of microseconds of those that follow."""
    observations = np.random.default_rng(0).normal(size=(num_actions, OBSERVATION)).astype(np.float32)
    act(observations[0], 0.0, True)
    load = time.perf_counter() - started
    times = []
    for observation in observations:
        begun = time.perf_counter()
        act(observation, 1.0, False)
        times.append(time.perf_counter() - begun)
    return {"load": load, "action": 1e6 * float(np.median(times))}


def measure_stablehlo(folder: str, num_actions: int) -> dict[str, float]:
    """The StableHLO of a folder."""
    import memorax.deployment

    started = time.perf_counter()
    return measure(memorax.deployment.load_policy(folder), started, num_actions)


def measure_onnx(folder: str, num_actions: int) -> dict[str, float]:
    """The ONNX of a folder, by the runner of the examples."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    from onnx_policy import OnnxPolicy

    started = time.perf_counter()
    return measure(OnnxPolicy(folder), started, num_actions)


def row(torso: str, num_actions: int) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        _in_a_process("export", torso, folder)
        size = {path.name: f"{path.stat().st_size / 1024:.0f}" for path in Path(folder).iterdir()}
        cells = [size["greedy.stablehlo"], size["params.safetensors"]]
        for kind, file in (("stablehlo", "greedy.stablehlo"), ("onnx", "greedy.onnx")):
            if file not in size:
                reason = json.loads((Path(folder) / "manifest.json").read_text())["programs"]["onnx"]["reason"]
                cells += [reason, "", ""]
                continue
            measured = json.loads(_in_a_process(kind, folder, str(num_actions)))
            cells += [size[file]] * (kind == "onnx") + [f"{measured['load']:.1f}", f"{measured['action']:.0f}"]
    return f"| `{torso}` | {' | '.join(cells)} |"


def _in_a_process(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.deployment", "--part", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _part(kind: str, *arguments: str) -> None:
    if kind == "export":
        export(arguments[0], Path(arguments[1]))
    else:
        function = measure_stablehlo if kind == "stablehlo" else measure_onnx
        print(json.dumps(function(arguments[0], int(arguments[1]))))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("torsos", nargs="*", help="names of torsos; by default all")
    parser.add_argument("--actions", type=int, default=2000, help="actions to take the median over")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        return _part(*arguments.part)
    from memorax.networks import TORSOS

    print(HEADER, flush=True)
    for torso in arguments.torsos or TORSOS:
        print(row(torso, arguments.actions), flush=True)


if __name__ == "__main__":
    main()
