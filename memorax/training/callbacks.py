"""Code of the user's that runs between two chunks of training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memorax.algorithms.algorithm import Agent
from memorax.loggers import Row
from memorax.types import PyTree


@dataclass(frozen=True)
class Event:
    """What a callback is told: a chunk ended, its metrics were logged, and the next one has not begun.

    Attributes:
        step: environment steps taken in each seed.
        rows: the metrics of each seed, as loggers get them; with those of an evaluation where there was one.
        agent: the agent that is trained.
        states: the states of all seeds, leaves `[num_seeds, ...]`. The next chunk takes over their memory: copy what is
            to be kept (`jax.device_get`), and do not change the rest.
        save: writes a checkpoint of this moment, which is never removed; `load_run(folder, step=...)` reads it.
    """

    step: int
    rows: Sequence[Row]
    agent: Agent
    states: PyTree
    save: Callable[[], None]


Callback = Callable[[Event], bool | None]
"""Called after each chunk. It may return True, which ends the run as if it were complete; anything it raises ends the
run too. What it keeps for itself is not saved: where a run is resumed, it begins anew."""


def check_callbacks(callbacks: Any) -> None:
    """Check that they are functions, in a list or another sequence.

    Raises:
        ValueError: if they are not.
    """
    if callable(callbacks) or not isinstance(callbacks, Collection) or not all(map(callable, callbacks)):
        raise ValueError(f"callbacks ({callbacks!r}) must be a list of functions of an Event, such as [callback]")


def asks_to_stop(callback: Callback, event: Event) -> bool:
    """Call a callback; whether it asks the run to stop.

    Raises:
        ValueError: if it returns anything but a bool or None.
    """
    answer = callback(event)
    if answer is not None and not isinstance(answer, bool | np.bool_):
        raise ValueError(
            f"callback {callback_name(callback)} returned {answer!r}: return True to stop the run, and None or False "
            "to go on"
        )
    return bool(answer)


def callback_name(callback: Callback) -> str:
    """The name of a function, or of an object's class."""
    return getattr(callback, "__name__", type(callback).__name__)
