"""Looks into the memory of trained agents: what they remember, for how long, and what it is worth.

`probe_runs` does it all for runs and `draw_probes` draws it. What they consist of are functions of a network, its
variables and the timesteps it saw.
"""

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
from memorax.probing.page import write_probes
from memorax.probing.pictures import draw_probes
from memorax.probing.probe import AgentProbe, Memory, Recording, RunProbe, probe_agent, probe_run, probe_runs, record
from memorax.probing.readout import Readout, Targets, linear_readout, observation_targets
from memorax.probing.returns import (
    Returns,
    ReturnsByLength,
    evaluated_returns,
    play,
    returns_by_length,
    wiped,
)
from memorax.probing.stored_carries import Drift, drift_in_buffer, drift_of_earlier_parameters

__all__ = [
    "AgentProbe",
    "Drift",
    "Influence",
    "Memory",
    "Readout",
    "Recording",
    "Returns",
    "ReturnsByLength",
    "RunProbe",
    "Survival",
    "Targets",
    "carries_along",
    "carry_survival",
    "carry_vectors",
    "draw_probes",
    "drift_in_buffer",
    "drift_of_earlier_parameters",
    "evaluated_returns",
    "has_numbers",
    "influence",
    "input_gradients",
    "linear_readout",
    "mean_by_lag",
    "norms_in_episode",
    "observation_targets",
    "play",
    "probe_agent",
    "probe_run",
    "probe_runs",
    "record",
    "returns_by_length",
    "steps_before",
    "wiped",
    "write_probes",
]
