"""Watches a run for numbers that look wrong, and says each kind once."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from memorax.algorithms.algorithm import NOTHING_TO_LEARN
from memorax.loggers import Row
from memorax.training.finite import Learned
from memorax.training.summary import UPDATES

CHUNKS = 10
"""Chunks in a row after which what has not changed is told."""

EPISODES = 100
"""Episodes of a seed after which one return for all of them is told, if they came in `CHUNKS` chunks or more."""

GRACE_SECONDS = 30.0
"""What clusters leave a job between the signal to end and its end: the default of Slurm's KillWait."""


class Watch:
    """Warns once of each of: what is not finite, a frozen policy, episodes of one step, returns that never change or
    never come, updates from nothing, a run without updates, and chunks that take too long.

    Args:
        logger: where warnings go.
        log_interval: environment steps in a chunk, for messages.
    """

    def __init__(self, logger: logging.Logger, log_interval: int) -> None:
        self._logger = logger
        self._log_interval = log_interval
        self._warned: set[str] = set()
        self._fingerprints: dict[int, tuple[int, int]] = {}
        self._returns: dict[int, tuple[float, int, int]] = {}
        self._without_episodes = 0
        self._updates: float | None = None

    def once(self, what: str, message: str) -> None:
        """Warn, unless the same thing was warned of before."""
        if what not in self._warned:
            self._warned.add(what)
            self._logger.warning("%s", message)

    def see_rows(self, rows: Sequence[Row]) -> None:
        """Look at what is logged."""
        for row in rows:
            seed, step = int(row["seed"]), row["step"]
            lost = {name: f"{name} of seed {seed}" for name, value in row.items() if not math.isfinite(value)}
            if new := [name for name, what in lost.items() if what not in self._warned]:
                self._warned.update(lost.values())
                self._logger.warning("%s", f"seed {seed} at step {step:,}: {', '.join(new)} not finite")
            if "updates" in row:
                self._updates = (self._updates or 0.0) + float(row["updates"])
            if row.get("updates") and row.get("known_targets") == 0:
                self.once("targets", NOTHING_TO_LEARN)
            if row.get("episodes") and row["length"] <= 1:
                self.once(
                    "length",
                    f"every episode of seed {seed} in the chunk up to step {step:,} took one step: where that is not "
                    "meant, look at what the environment returns as terminated and truncated",
                )
            self._see_return(row)
        self._without_episodes = 0 if any(row.get("episodes") for row in rows) else self._without_episodes + 1
        if self._without_episodes == CHUNKS:
            self.once(
                "episodes",
                f"no episode ended in the last {CHUNKS} chunks, up to step {rows[0]['step']:,}, and so there are no "
                "returns: an environment that never ends needs a time limit (the wrapper time_limit)",
            )

    def _see_return(self, row: Row) -> None:
        """Whether all episodes of a seed had one return, as far as their means tell."""
        if not row.get("episodes"):
            return
        seed, mean, count = int(row["seed"]), float(row["return"]), int(row["episodes"])
        value, chunks, episodes = self._returns.get(seed, (mean, 0, 0))
        if not math.isclose(mean, value, rel_tol=1e-6):
            value = math.nan  # from now on nothing is close to it
        chunks, episodes = chunks + 1, episodes + count
        self._returns[seed] = value, chunks, episodes
        if not math.isnan(value) and chunks >= CHUNKS and episodes >= EPISODES:
            self.once(
                "returns",
                f"the return of seed {seed} was {value:.6g} in each of its first {episodes} episodes: look at the "
                "rewards of the environment, and at whether exploration ever finds others",
            )

    def see_learned(self, learned: Learned, rows: Sequence[Row]) -> None:
        """Look at the policy's parameters after a chunk."""
        for index, row in enumerate(rows):
            if row.get(UPDATES) == 0:
                continue
            fingerprint = int(learned.policy[index])
            value, times = self._fingerprints.get(index, (fingerprint, -1))
            times = times + 1 if value == fingerprint else 0
            self._fingerprints[index] = fingerprint, times
            if times == CHUNKS:
                self.once(
                    "frozen",
                    f"the policy of seed {int(row['seed'])} is frozen: its parameters did not change in the last "
                    f"{CHUNKS} chunks, up to step {row['step']:,}. Look at the learning rate and at skipped_updates",
                )

    def see_end(self, step: int) -> None:
        """Look back at the end of a run."""
        if self._updates == 0:
            self.once(
                "updates",
                f"nothing was learned: no update was made in {step:,} steps. The first one waits for learning_starts "
                "steps, and for a replay buffer that holds a sequence",
            )

    def see_chunk(self, seconds: float) -> None:
        """Look at how long a chunk took."""
        if seconds > GRACE_SECONDS:
            self.once(
                "chunk",
                f"a chunk of {self._log_interval:,} steps takes {seconds:.0f} seconds, and a signal is answered after "
                f"it: where a cluster ends jobs sooner (Slurm {GRACE_SECONDS:.0f} seconds after SIGTERM, if not told "
                "otherwise), make log_interval smaller",
            )
