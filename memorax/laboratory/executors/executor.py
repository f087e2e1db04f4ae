"""What an executor is: a place where runs are trained, each in a process of its own."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """A run that is to be trained, or gone on with.

    Attributes:
        folder: its run folder, on a file system that the workers share with this process.
        settings: its settings, as `config_to_json` makes them.
    """

    folder: Path
    settings: Mapping[str, Any]


class JobHandle(abc.ABC):
    """A job that was submitted. How its run ended is in the run folder; see `memorax.laboratory.outcome`."""

    @abc.abstractmethod
    def ended(self) -> bool:
        """Whether the worker has ended its work, or is gone."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ask the worker to save and stop."""

    @abc.abstractmethod
    def describe_end(self) -> str:
        """How the worker ended, in a few words, such as "ended by SIGKILL"."""


class Executor(abc.ABC):
    """Trains runs.

    Attributes:
        workers: most runs that are trained at the same time.
    """

    workers: int

    @abc.abstractmethod
    def submit(self, job: Job) -> JobHandle:
        """Begin with a job: `memorax.laboratory.job.train_job(job)` in another process."""

    def close(self) -> None:  # noqa: B027 - few have anything to close
        """Release what the executor holds, once its jobs have ended."""
