"""Commands that several processes carry out together."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from memorax.cli.errors import one_line
from memorax.training.processes import join_processes


@contextlib.contextmanager
def together(
    folder: Path | None, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Iterator[None]:
    """Run with other processes, where a coordinator is given; an error ends this process at once.

    JAX would make it wait for the others, which may be lost or wait for this one.

    Args:
        folder: the run folder.
        coordinator: see `join_processes`.
        num_processes: see `join_processes`.
        process_id: see `join_processes`.

    Raises:
        ValueError: if they do not fit together, or processes have no common folder.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError("num_processes and process_id need coordinator, the address of the first process")
        yield
        return
    if folder is None:
        raise ValueError("folder must be given where several processes train a run together: it is the same for all")
    join_processes(coordinator, num_processes, process_id)
    try:
        yield
    except Exception as error:
        message = one_line(error)
        print("".join(traceback.format_exception(error)) if message is None else f"error: {message}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)
