"""Looks into the memory of a trained agent: pure functions of a network, its variables and what it saw."""

from __future__ import annotations

from memorax.probing.carries import (
    Survival,
    carries_along,
    carry_survival,
    carry_vectors,
    has_numbers,
    norms_in_episode,
)
from memorax.probing.gradients import Influence, influence, input_gradients
from memorax.probing.lags import mean_by_lag, steps_before
from memorax.probing.readout import Readout, Targets, linear_readout, observation_targets

__all__ = [
    "Influence",
    "Readout",
    "Survival",
    "Targets",
    "carries_along",
    "carry_survival",
    "carry_vectors",
    "has_numbers",
    "influence",
    "input_gradients",
    "linear_readout",
    "mean_by_lag",
    "norms_in_episode",
    "observation_targets",
    "steps_before",
]
