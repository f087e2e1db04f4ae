"""How a run of a grid ended, in a file of its folder, which every executor's workers can write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from memorax.files import write_whole
from memorax.loggers.file import METRICS_FILE

OUTCOME_FILE = "outcome.json"
FAILURE_FILE = "failure.txt"
OUTPUT_FILE = "output.log"

RUNNING, COMPLETED, FAILED, INTERRUPTED = "running", "completed", "failed", "interrupted"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: "running", "completed", "failed" or "interrupted". A run whose worker has gone while it says "running"
            was killed.
        total_steps: environment steps in each seed that the run was to take.
        message: the error in one line, where it failed.
    """

    status: str
    total_steps: int
    message: str = ""

    def write(self, folder: Path) -> None:
        """Write it to a run folder, whole or not at all."""
        write_whole(folder / OUTCOME_FILE, json.dumps(asdict(self)) + "\n")


def read_outcome(folder: Path) -> Outcome | None:
    """How the run in a folder ended, or None where nothing says so."""
    try:
        return Outcome(**json.loads((folder / OUTCOME_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_complete(folder: Path, total_steps: int) -> bool:
    """Whether the run in a folder took all of `total_steps`, or ended early of its own accord."""
    outcome = read_outcome(folder)
    return outcome is not None and outcome.status == COMPLETED and outcome.total_steps >= total_steps


def steps_taken(folder: Path) -> int:
    """Environment steps in each seed up to the last line of the metrics in a folder; 0 where there are none."""
    try:
        with open(folder / METRICS_FILE, "rb") as file:
            column = file.readline().decode().strip().split(",").index("step")
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            # The last piece is an empty one, or half a line.
            lines = file.read().split(b"\n")[:-1]
        return int(lines[-1].split(b",")[column])
    except (OSError, ValueError, IndexError):
        return 0


def train_with_outcome(folder: Path, total_steps: int, train: Callable[[], object]) -> None:
    """Train, and write to the folder how it ended.

    Args:
        folder: the run folder, which is made.
        total_steps: environment steps in each seed that the run is to take.
        train: function that trains.

    Raises:
        BaseException: whatever `train` raises.
    """
    # Here rather than above: the commands that only read outcomes need no JAX.
    from memorax.training.interruption import Interrupted

    folder.mkdir(parents=True, exist_ok=True)
    Outcome(RUNNING, total_steps).write(folder)
    try:
        train()
    except Interrupted:
        Outcome(INTERRUPTED, total_steps).write(folder)
        raise
    except BaseException as error:
        _write_failure(folder, total_steps, error)
        raise
    Outcome(COMPLETED, total_steps).write(folder)
    (folder / FAILURE_FILE).unlink(missing_ok=True)


def _write_failure(folder: Path, total_steps: int, error: BaseException) -> None:
    import traceback

    lines = "".join(traceback.format_exception(error)).splitlines()
    (folder / FAILURE_FILE).write_text("\n".join(lines[-60:]) + "\n")
    message = " ".join(str(error).split()) or type(error).__name__
    Outcome(FAILED, total_steps, message if isinstance(error, ValueError) else lines[-1]).write(folder)
