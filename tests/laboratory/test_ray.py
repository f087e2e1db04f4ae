"""A grid on a Ray cluster of two nodes on this machine, one of whose workers is killed."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from memorax.laboratory import read_outcome, run_grid
from memorax.laboratory.executors import make_executor
from memorax.laboratory.outcome import Outcome, steps_taken
from tests.laboratory.test_grid import SMALL, grid_of

ray = pytest.importorskip("ray")


@pytest.fixture
def address():
    from ray.cluster_utils import Cluster

    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
    except Exception as error:
        pytest.skip(f"Ray does not start here: {error}")
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray leaves files and processes open
def test_a_grid_survives_the_kill_of_a_worker(tmp_path: Path, address: str) -> None:
    config = dataclasses.replace(SMALL, total_steps=64_000, log_interval=640, checkpoint_seconds=0.5)
    news: list[str] = []
    lock = tmp_path / "one" / ".lock"

    def kill() -> None:
        while steps_taken(tmp_path / "one") < 1280:
            time.sleep(0.05)
        os.kill(int(lock.read_text().split()[1]), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    executor = make_executor("ray", None, {"address": address})
    report = run_grid(
        grid_of(one=config, other=SMALL), tmp_path, executor, lambda told: news.append(told.news) if told.news else None
    )
    assert report.failed == []
    assert read_outcome(tmp_path / "one") == Outcome("completed", 64_000)
    assert "its worker ended by WorkerCrashedError, tried again: one" in news
