"""Trains runs as jobs of SLURM, by way of submitit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memorax.installation import install_command
from memorax.laboratory.executors.executor import Executor, Job, JobHandle

MOST_JOBS = 100
"""Most jobs in the queue at the same time, unless a number is given."""


class SlurmExecutor(Executor):
    """A job of SLURM for each run; submitit's logs are in `slurm/` of the run folder.

    A job that reaches its time limit or is preempted is put into the queue again and goes on from its last checkpoint.

    Args:
        workers: most jobs at the same time; by default 100.
        options: parameters of submitit's `AutoExecutor`, such as `slurm_partition`, `timeout_min` and `cpus_per_task`;
            `cluster="local"` tries the same on this machine.

    Raises:
        ImportError: if submitit is not installed.
        ValueError: if there is no SLURM here, or submitit refuses an option.
    """

    def __init__(self, workers: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        try:
            import submitit
        except ImportError as error:
            raise ImportError(f"executor slurm needs submitit: {install_command('slurm')}") from error
        self._submitit = submitit
        self.workers = workers or MOST_JOBS
        self._options = {"name": "memorax", **(options or {})}
        self._cluster = str(self._options.pop("cluster", "slurm"))
        if self._cluster == "slurm" and shutil.which("srun") is None:
            raise ValueError(
                "executor slurm needs the command srun, which is not here: call it on a machine of the cluster, or try "
                "it by --executor-options cluster=local"
            )
        with tempfile.TemporaryDirectory() as folder:
            try:
                self._make(Path(folder))
            except Exception as error:
                raise ValueError(f"executor-options of slurm: {error}") from error

    def submit(self, job: Job) -> JobHandle:
        """Put a job into the queue."""
        return SlurmHandle(self._make(job.folder / "slurm").submit(Training(job)))

    def _make(self, folder: Path) -> Any:
        executor = self._submitit.AutoExecutor(folder=folder, cluster=self._cluster)
        executor.update_parameters(**self._options)
        return executor


class Training:
    """What a job does. submitit calls `checkpoint` where the job is about to be ended, and submits what it returns."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self) -> None:
        """Begin or go on with the run."""
        # Here rather than above: the job says first how many cores there are.
        from memorax.laboratory.job import train_job

        train_job(self.job)

    def checkpoint(self) -> Any:
        """The same again: it goes on from the run's last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SlurmHandle(JobHandle):
    """A job in SLURM's queue."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def ended(self) -> bool:
        """Whether the job has ended, looked up at least each minute."""
        return bool(self.job.done())

    def stop(self) -> None:
        """Cancel the job, which first gets SIGTERM."""
        self.job.cancel(check=False)

    def describe_end(self) -> str:
        """Its number and SLURM's word for how it ended."""
        return f"(job {self.job.job_id}) ended as {self.job.state}"
