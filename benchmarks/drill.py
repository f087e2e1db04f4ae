"""Breaks runs in every way and sees whether they go on bit for bit: `python -m benchmarks.drill [--kills 50]`.

A run is killed at random moments and in the middle of saves, its checkpoints are cut and bits of them flipped, its disk
fills up, and a second process enters its folder. Each time it is resumed to its end, and what it learned, its best
evaluation and its metrics are compared with those of a run that nothing happened to.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from memorax.algorithms import PPOConfig
from memorax.algorithms.algorithm import Algorithm
from memorax.evaluation import read_metrics
from memorax.loggers import FileLogger
from memorax.training import TrainConfig, build_agent, train
from memorax.training.checkpoints import FACTS_FILE, Checkpoints, read_facts
from memorax.training.config import config_to_json
from memorax.training.folder import checkpoints_folder, create_folder, write_config

STEPS = 32
"""Environment steps in a chunk."""

CONFIG = TrainConfig(
    environment="popgym::RepeatPreviousEasy",
    hyperparameters=PPOConfig(num_envs=2, num_steps=16, num_minibatches=2, update_epochs=1),
    features=4,
    total_steps=60 * STEPS,
    num_seeds=2,
    log_interval=STEPS,
    evaluation_interval=4 * STEPS,
    evaluation_steps=128,
    checkpoint_seconds=0.0,
    loggers=("file",),
)
"""A run of sixty chunks, each of which writes a checkpoint."""

LONGEST_LIFE = 600.0
"""Seconds after which a process that should have ended has failed."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to break."""

    kills: int = 50
    faults: int = 60
    full_disks: int = 5
    seed: int = 0


def prepare(folder: Path, config: TrainConfig = CONFIG) -> Path:
    """Make a run folder that `memorax resume` starts from its beginning."""
    create_folder(folder)
    write_config(folder, config_to_json(config))
    return folder


def start(folder: Path) -> subprocess.Popen[str]:
    """`memorax resume` in a process of its own."""
    command = [sys.executable, "-m", "memorax", "resume", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a process. Returns its exit code and what it wrote to its error output."""
    _, errors = process.communicate(timeout=LONGEST_LIFE)
    return process.returncode, errors


def go_on(agent: Algorithm[Any, Any], folder: Path) -> None:
    """Resume a run in this process, with an agent that is compiled once."""
    train(
        agent,
        CONFIG.total_steps,
        num_seeds=CONFIG.num_seeds,
        folder=folder,
        resume=True,
        log_interval=CONFIG.log_interval,
        evaluation_interval=CONFIG.evaluation_interval,
        evaluation_steps=CONFIG.evaluation_steps,
        checkpoint_seconds=CONFIG.checkpoint_seconds,
        loggers=[FileLogger(folder)],
    )


def saving(folder: Path) -> bool:
    """Whether a checkpoint is half written."""
    return any(checkpoints_folder(folder).glob("*.partial"))


def wait_for_saves(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until so many checkpoints have begun to be written, and return in the middle of the last one."""
    for _ in range(count):
        while process.poll() is None and saving(folder):
            time.sleep(0.0005)
        while process.poll() is None and not saving(folder):
            time.sleep(0.0005)


def differences(folder: Path, whole: Path) -> list[str]:
    """What differs between two runs, but for the time they took."""
    found = []
    for one, other in zip(_saved(folder), _saved(whole), strict=True):
        found += [name for name in one.keys() | other.keys() if not _equal(one.get(name), other.get(name))]
    metrics, others = read_metrics(folder), read_metrics(whole)
    found += [name for name in others if name != "seconds" and not _equal(metrics.get(name), others[name])]
    return found


def _saved(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of the last checkpoint and of the best one, and the best evaluation."""
    checkpoints = Checkpoints(checkpoints_folder(folder))
    for step in ("last", "best"):
        step, arrays = checkpoints.read(lambda names: names, step) or (0, {})
        yield {**arrays, "step": np.array(step)}
    facts = read_facts(checkpoints.folder / str(checkpoints.steps[-1])) or {}
    yield {"best": np.array(json.dumps(facts.get("best")))}


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def damage(path: Path, kind: str, moments: random.Random) -> None:
    """Cut a file at a random place, flip a random bit of it, or remove it."""
    content = bytearray(path.read_bytes())
    if kind == "removed" or not content:
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: moments.randrange(len(content))])
    else:
        bit = moments.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)


def checkpoint_files(folder: Path) -> list[Path]:
    """The files of a run's last checkpoint."""
    last = checkpoints_folder(folder) / str(Checkpoints(checkpoints_folder(folder)).steps[-1])
    return sorted(path for path in last.rglob("*") if path.is_file())


def drill_kills(scratch: Path, whole: Path, options: Options, moments: random.Random) -> Counter[str]:
    """Kill runs until there were enough kills; each run is killed ten times and then left to end."""
    counts: Counter[str] = Counter()
    startup = 10.0
    while counts["kills"] < options.kills:
        folder = prepare(scratch / f"killed-{counts['runs']}")
        for _ in range(10):
            began = time.monotonic()
            process = start(folder)
            if moments.random() < 0.5:
                wait_for_saves(process, folder, moments.randint(1, 12))
                startup = time.monotonic() - began
                time.sleep(moments.uniform(0, 0.02))
            else:
                time.sleep(moments.uniform(0, 1.3 * startup))
            process.send_signal(signal.SIGKILL)
            code, errors = finish(process)
            if code != -signal.SIGKILL:
                assert code == 0, errors
                break
            counts["kills"] += 1
            counts["kills in the middle of a save"] += saving(folder)
        code, errors = finish(start(folder))
        assert code == 0, errors
        counts["runs"] += 1
        counts["runs bit for bit"] += _told(folder, whole)
    return counts


def drill_faults(scratch: Path, whole: Path, options: Options, moments: random.Random) -> Counter[str]:
    """Damage the last checkpoint of a run that was killed, one file at a time, and resume it."""
    counts: Counter[str] = Counter()
    killed = prepare(scratch / "damaged")
    process = start(killed)
    wait_for_saves(process, killed, 50)
    process.send_signal(signal.SIGKILL)
    finish(process)
    files, agent = checkpoint_files(killed), build_agent(CONFIG)
    for number in range(options.faults):
        folder = scratch / f"damaged-{number}"
        shutil.copytree(killed, folder)
        kind = ("cut", "flipped", "flipped", "removed")[number % 4]
        path = folder / files[number % len(files)].relative_to(killed)
        damage(path, kind, moments)
        counts[f"files {kind}"] += 1
        go_on(agent, folder)
        counts["runs"] += 1
        counts["runs bit for bit"] += _told(folder, whole)
        shutil.rmtree(folder)
    for path in checkpoints_folder(killed).glob(f"*/{FACTS_FILE}"):
        damage(path, "cut", moments)
    code, errors = finish(start(killed))
    counts["runs without an intact checkpoint"] += 1
    counts["of them told in one line"] += code == 2 and "no intact checkpoint" in errors and errors.count("\n") == 1
    return counts


FULL_DISK = """
mount -t tmpfs -o size=64m tmpfs {disk} && cp -r {folder} {disk}/run &&
head -c $(( 64 * 1024 * 1024 - $(du -s -B1 {disk} | cut -f1) - {free} )) /dev/zero > {disk}/filler
{python} -m memorax resume {disk}/run; echo "first $?" >&2
rm -f {disk}/filler
{python} -m memorax resume {disk}/run; echo "second $?" >&2
rm -rf {folder} && cp -r {disk}/run {folder}
"""
"""Run a run on a disk with so much free space, then with enough, and copy it back."""


def drill_full_disks(scratch: Path, whole: Path, options: Options, moments: random.Random) -> Counter[str]:
    """Let the disk of a run be full, at its beginning or in the middle of a checkpoint."""
    counts: Counter[str] = Counter()
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        return Counter({"not run: needs unshare, to mount a small disk": 1})
    for number in range(options.full_disks):
        folder, disk = prepare(scratch / f"full-{number}"), scratch / "disk"
        disk.mkdir(exist_ok=True)
        free = moments.randrange(4096, 400_000)
        script = FULL_DISK.format(disk=disk, folder=folder, free=free, python=sys.executable)
        done = subprocess.run([*namespace, "sh", "-c", script], capture_output=True, text=True, timeout=LONGEST_LIFE)
        lines = done.stderr.splitlines()
        assert "second 0" in lines, done.stderr
        counts["full disks"] += "first 2" in lines
        counts["of them told in one line"] += "first 2" in lines and "no space left" in done.stderr.lower()
        counts["runs"] += 1
        counts["runs bit for bit"] += _told(folder, whole)
    return counts


def drill_two_processes(scratch: Path, whole: Path) -> Counter[str]:
    """Start a second process in the folder of a run that is trained."""
    counts: Counter[str] = Counter()
    folder = prepare(scratch / "shared")
    first = start(folder)
    wait_for_saves(first, folder, 1)
    code, errors = finish(start(folder))
    counts["second processes"] += 1
    counts["of them refused in one line"] += code == 2 and f"is in use by process {first.pid}" in errors
    code, errors = finish(first)
    assert code == 0, errors
    counts["runs"] += 1
    counts["runs bit for bit"] += _told(folder, whole)
    return counts


def _told(folder: Path, whole: Path) -> bool:
    """Whether a run equals the whole one; what differs is printed."""
    found = differences(folder, whole)
    if found:
        print(f"{folder.name} differs in {', '.join(found[:5])}")
    return not found


def main(options: Options) -> int:
    """Run every part, and print what it did and how many runs equal the whole one."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(".jax_cache").absolute()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    moments = random.Random(options.seed)
    total: Counter[str] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        whole = prepare(scratch / "whole")
        code, errors = finish(start(whole))
        assert code == 0, errors
        parts = {
            "two processes": lambda: drill_two_processes(scratch, whole),
            "full disks": lambda: drill_full_disks(scratch, whole, options, moments),
            "damaged checkpoints": lambda: drill_faults(scratch, whole, options, moments),
            "kills": lambda: drill_kills(scratch, whole, options, moments),
        }
        for part, run in parts.items():
            counts = run()
            total += counts
            print(f"{part}: {', '.join(f'{name} {count}' for name, count in counts.items())}", flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"{total['runs bit for bit']} of {total['runs']} runs bit for bit, in {minutes:.0f} minutes")
    return int(total["runs bit for bit"] != total["runs"])


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
