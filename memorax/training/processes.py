"""Several processes that train the seeds of one run together, on one machine or on many (`jax.distributed`).

Every process runs the same loop over its own seeds. They meet where metrics and states are gathered, and decide
together where they could differ: whether a signal came, whether a checkpoint is due. The first one writes metrics and
checkpoints.
"""

from __future__ import annotations

import logging

import jax
import numpy as np
from jax.experimental import multihost_utils

from memorax.types import Array

AUTOMATIC = "auto"
"""In place of the address of the first process, where JAX finds it and the number of processes itself."""


class ProcessLost(ConnectionError):
    """Raised where another process of a run has ended or cannot be reached."""


def join_processes(coordinator: str, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Connect this process to the others of its run, before JAX computes anything.

    Args:
        coordinator: `HOST:PORT` of the first process, or "auto" where a cluster's scheduler tells JAX: Slurm, Open MPI,
            Kubernetes, TPUs.
        num_processes: number of processes, with an address.
        process_id: number of this process from 0, with an address.

    Raises:
        ValueError: if a number is missing or out of range.
    """
    if coordinator == AUTOMATIC:
        if num_processes is not None or process_id is not None:
            raise ValueError("num_processes and process_id must be left out where coordinator is auto")
        jax.distributed.initialize()
    else:
        if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
            raise ValueError(
                f"process_id ({process_id}) and num_processes ({num_processes}) must be given with coordinator "
                f"({coordinator}), and satisfy 0 <= process_id < num_processes"
            )
        jax.distributed.initialize(coordinator, num_processes, process_id)
    if not is_first():
        logging.getLogger("memorax").setLevel(logging.ERROR)


def is_first() -> bool:
    """Whether this process is the one that writes metrics and checkpoints."""
    return jax.process_index() == 0


def any_process(fact: bool) -> bool:
    """Whether a fact holds in any process; all of them have to ask."""
    return fact if jax.process_count() == 1 else bool(gather(np.array(fact)).any())


def check_same_step(step: int) -> None:
    """Check that all processes go on from the same step.

    Raises:
        ValueError: if they do not, as where only some see the run's folder.
    """
    if jax.process_count() > 1 and len(steps := np.unique(gather(np.array(step)))) > 1:
        raise ValueError(f"the processes start from steps {steps.tolist()}: all of them must see the run's folder")


def gather(array: Array | np.ndarray) -> np.ndarray:
    """An array that lies in several processes, as a whole; of arrays that each has for itself, all `[processes, ...]`.

    Raises:
        ProcessLost: if a process cannot be reached.
    """
    if isinstance(array, jax.Array) and array.is_fully_addressable:
        return np.asarray(array)
    try:
        return np.asarray(multihost_utils.process_allgather(array, tiled=isinstance(array, jax.Array)))
    except (ValueError, RuntimeError) as error:
        raise ProcessLost("another process of this run was lost") from error
