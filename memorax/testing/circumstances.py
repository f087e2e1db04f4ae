"""The check of what only some agents meet: masks of actions, agents that go out, replay buffers that are full."""

from __future__ import annotations

import numpy as np

from memorax.networks.network import action_mask
from memorax.testing import rollout_edits as edits
from memorax.testing.assertions import require
from memorax.testing.bench import Bench

MOST_ITERATIONS_TO_FILL = 200
"""Iterations after which a replay buffer must be full for the check to look at it then."""


def check_masks_are_learned_with(bench: Bench) -> None:
    """Where observations say what is allowed, that is learned with."""
    mask = action_mask(bench.act(bench.key(0, 0), bench.ready)[1].timesteps.observation)
    require(
        mask is None or bool(np.all(mask)) or bench.differ(edits.as_it_was, edits.everything_allowed),
        "what is learned is what was allowed: rollouts in which every action_mask allows everything change nothing of "
        "what is learned",
    )


def check_agents_that_went_out(bench: Bench) -> None:
    """Nothing is learned from steps after an agent went out, and no return goes on beyond the one at which it does."""
    info = bench.act(bench.key(0, 0), bench.ready)[1].info
    if "went_out" in info:
        out = edits.then(edits.varied_observations, edits.went_out)
        require(
            not bench.part(bench.first, (out, bench.discount), (out, bench.discount / 2)),
            'no return goes on where an agent goes out: where info["went_out"] is True at every step, the discount '
            "changes what is learned",
        )
    if "active" in info:
        require(
            not bench.differ(edits.as_it_was, edits.other_while_out),
            'nothing is learned from agents that are out: other observations and rewards where info["active"] is '
            "False change what is learned",
        )


def check_buffer_goes_on(bench: Bench) -> None:
    """New rollouts are learned from once a replay buffer is full."""
    size = getattr(bench.agent.cfg, "buffer_size", 0)
    num_iterations = size // bench.agent.steps_per_iteration + 1
    if not bench.agent.replays or not size or num_iterations > MOST_ITERATIONS_TO_FILL:
        return
    state = bench.ready
    for i in range(num_iterations):
        state = bench.iterate(state, i, edits.as_it_was)
    as_it_was, otherwise = ((edit, bench.discount) for edit in (edits.as_it_was, edits.other_rewards))
    require(
        bench.part(state, as_it_was, otherwise, 4),
        f"a full replay buffer is written over: {num_iterations} iterations on, other rewards in new rollouts change "
        "nothing of what is learned",
    )
