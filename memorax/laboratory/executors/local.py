"""Trains runs in processes on this machine, each on cores of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from memorax.laboratory.executors.executor import Executor, Job, JobHandle
from memorax.laboratory.outcome import OUTPUT_FILE


class LocalExecutor(Executor):
    """A process for each run, side by side over the cores that this process may use.

    What a process prints is in `output.log` of its run folder. It saves and stops when this process is gone.

    Args:
        workers: number of processes side by side; by default one for each core.
        options: there are none.

    Raises:
        ValueError: if there are options.
    """

    def __init__(self, workers: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        if options:
            raise ValueError(f"executor local has no options: leave {', '.join(options)} out")
        cores = usable_core_numbers()
        self.workers = workers or len(cores)
        self._cores = share_cores(cores, self.workers)
        self._processes: dict[int, LocalHandle] = {}

    def submit(self, job: Job) -> JobHandle:
        """Start a process, on the cores of the first place that is free."""
        place = next(
            number for number in range(self.workers) if number not in self._processes or self._processes[number].ended()
        )
        job.folder.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "memorax.laboratory.worker", str(job.folder)),
            *("--parent", str(os.getpid()), "--cores", ",".join(map(str, self._cores[place]))),
        ]
        with open(job.folder / OUTPUT_FILE, "ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # Ctrl-C is for this process, which passes it on
            )
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(json.dumps(dict(job.settings)))
        self._processes[place] = LocalHandle(process)
        return self._processes[place]


class LocalHandle(JobHandle):
    """A process that trains a run."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def stop(self) -> None:
        """Send SIGTERM, after which a run saves and stops."""
        self.process.terminate()

    def describe_end(self) -> str:
        """The signal or the exit code that it ended with."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


def share_cores(cores: list[int], workers: int) -> list[list[int]]:
    """The cores of each worker: all are used, and none is shared unless there are more workers than cores."""
    if workers > len(cores):
        return [[cores[number % len(cores)]] for number in range(workers)]
    return [cores[number::workers] for number in range(workers)]


def usable_core_numbers() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
