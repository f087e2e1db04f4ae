"""When the training loop logs and evaluates, in whole iterations of the agent."""

from __future__ import annotations

import math
from dataclasses import dataclass

LONGEST_DEFAULT_CHUNK = 100_000


@dataclass(frozen=True)
class Schedule:
    """A run cut into chunks: a chunk is what is compiled, run and logged at once.

    Attributes:
        total: iterations in the run.
        chunk: iterations in a chunk; the last one may be shorter.
        chunks_per_evaluation: chunks between two evaluations.
    """

    total: int
    chunk: int
    chunks_per_evaluation: int

    def next_chunk(self, iteration: int) -> int:
        """Iterations in the chunk that starts after `iteration` of them; 0 where the run is complete."""
        return max(0, min(self.chunk - iteration % self.chunk, self.total - iteration))

    def evaluates(self, iteration: int) -> bool:
        """Whether there is an evaluation after `iteration` iterations: at the interval and at the end."""
        return iteration >= self.total or iteration % (self.chunk * self.chunks_per_evaluation) == 0


def make_schedule(
    steps_per_iteration: int,
    total_steps: int,
    log_interval: int | None,
    evaluation_interval: int | None,
    evaluation_steps: int,
) -> Schedule:
    """Turn intervals in environment steps into a schedule, each rounded up to whole iterations.

    Args:
        steps_per_iteration: environment steps in an iteration of the agent.
        total_steps: environment steps in the run.
        log_interval: environment steps between two rows of metrics. By default about a hundredth of the run and at
            most 100 000 or `evaluation_interval`, chosen so that chunks divide the run where they can: a shorter last
            one compiles again.
        evaluation_interval: environment steps between two evaluations, rounded up to whole chunks. By default a
            twentieth of the run, and no fewer than an evaluation takes.
        evaluation_steps: environment steps in an evaluation.

    Raises:
        ValueError: if a number is not positive.
    """
    for name, value in (
        ("total_steps", total_steps),
        ("log_interval", log_interval),
        ("evaluation_interval", evaluation_interval),
        ("evaluation_steps", evaluation_steps),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1: it counts environment steps")
    total = math.ceil(total_steps / steps_per_iteration)
    if log_interval is None:
        longest = min(LONGEST_DEFAULT_CHUNK, evaluation_interval or LONGEST_DEFAULT_CHUNK)
        chunk = _default_chunk(total, math.ceil(longest / steps_per_iteration))
    else:
        chunk = min(total, math.ceil(log_interval / steps_per_iteration))
    if evaluation_interval is None:
        evaluation_interval = max(math.ceil(total_steps / 20), evaluation_steps)
    return Schedule(total, chunk, math.ceil(evaluation_interval / (chunk * steps_per_iteration)))


def _default_chunk(total: int, longest: int) -> int:
    """The chunk nearest to a hundredth of `total` that divides it, from a third to twice of that; or a hundredth."""
    target = min(math.ceil(total / 100), longest)
    candidates = [n for n in range(math.ceil(target / 3), min(2 * target, longest) + 1) if total % n == 0]
    return min(candidates, key=lambda n: abs(n - target), default=target)
