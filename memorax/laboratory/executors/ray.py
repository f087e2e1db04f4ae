"""Trains runs as tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memorax.installation import install_command
from memorax.laboratory.executors.executor import Executor, Job, JobHandle

MOST_TASKS = 100
"""Most tasks at the same time, unless a number is given; Ray starts as many of them as it has room for."""


class RayExecutor(Executor):
    """A task of Ray for each run, on a cluster whose nodes share the file system of the run folders.

    A task whose worker or node is lost is reported as such, and tried again by the grid from its last checkpoint.

    Args:
        workers: most tasks at the same time; by default 100.
        options: `address` of the cluster, by default a new one on this machine; all others are options of a task, such
            as `num_cpus` (1 by default) and `num_gpus`.

    Raises:
        ImportError: if Ray is not installed.
        ValueError: if the cluster cannot be reached, or Ray refuses an option.
    """

    def __init__(self, workers: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError(f"executor ray needs ray: {install_command('ray')}") from error
        self._ray = ray
        self.workers = workers or MOST_TASKS
        chosen = dict(options or {})
        address = chosen.pop("address", None)
        try:
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
            # The process of a task ends with it: JAX starts anew, on the cores and GPUs of the next one.
            self._train = ray.remote(**{"num_cpus": 1, "max_retries": 0, "max_calls": 1, **chosen})(_train)
        except Exception as error:
            raise ValueError(f"executor ray, at the address {address}: {error}") from error

    def submit(self, job: Job) -> JobHandle:
        """Put a task into the queue."""
        return RayHandle(self._ray, self._train.remote(job))

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


class RayHandle(JobHandle):
    """A task of Ray."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray = ray
        self._reference = reference

    def ended(self) -> bool:
        """Whether the task has ended, or its worker is lost."""
        ready, _ = self._ray.wait([self._reference], timeout=0)
        return bool(ready)

    def stop(self) -> None:
        """Cancel the task, whose process gets the signal of Ctrl-C."""
        self._ray.cancel(self._reference)

    def describe_end(self) -> str:
        """The name of what Ray raised."""
        try:
            self._ray.get(self._reference, timeout=0)
        except Exception as error:
            return f"ended by {type(error).__name__}"
        return "ended"


def _train(job: Job) -> None:
    # Here rather than above: the task says first which cores and GPUs there are.
    from memorax.laboratory.job import train_job

    train_job(job)
