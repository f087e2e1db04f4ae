"""Where the runs of a grid are trained. An executor is one file, with one line here."""

from memorax.laboratory.executors.executor import Executor, Job, JobHandle
from memorax.laboratory.executors.make import EXECUTORS, make_executor

__all__ = ["EXECUTORS", "Executor", "Job", "JobHandle", "make_executor"]
