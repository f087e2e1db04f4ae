"""The best evaluation of a run so far, by which its best checkpoint is kept and its patience ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from memorax.loggers import Row

SCORE = "evaluation_return"
"""The column whose mean over seeds is the score of an evaluation."""


@dataclass(frozen=True)
class Best:
    """The best evaluation so far.

    Attributes:
        step: environment steps taken in each seed at that evaluation; None before the first one.
        score: the mean evaluation return over seeds then.
        evaluations_since: evaluations after it, none of which was better.
    """

    step: int | None = None
    score: float | None = None
    evaluations_since: int = 0

    def after(self, rows: Sequence[Row]) -> Best:
        """The best evaluation once the rows of another step are known, one row per seed.

        Of equal scores the first stays the best. A score that is not finite is never the best.
        """
        scores = [float(row[SCORE]) for row in rows if SCORE in row]
        if not scores:
            return self
        score = sum(scores) / len(scores)
        if math.isfinite(score) and (self.score is None or score > self.score):
            return Best(int(rows[0]["step"]), score)
        return Best(self.step, self.score, self.evaluations_since + 1)
