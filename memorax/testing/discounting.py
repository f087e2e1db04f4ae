"""The check of where the discount counts, and how often."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from memorax.testing import rollout_edits as edits
from memorax.testing.assertions import require, same
from memorax.testing.bench import Bench, has_discount, learners
from memorax.testing.rollout_edits import Edit

NUM_ROLLOUTS = 16
"""Rollouts in one of which a change has to show."""

SMALL_DISCOUNT = 0.05
"""A discount and its double are both so small that what follows the next step counts for little."""


def check_discounting(bench: Bench) -> None:
    """The discount counts once for each step, at those that go on and at no others."""
    if has_discount(bench.agent):
        _check_once_for_each_step(bench)
        # Whoever goes on with nothing at a time limit, as without a critic, does so at the end of a rollout too.
        truncated = edits.ended("truncated")
        if bench.differ(truncated, edits.then(truncated, edits.other_final_observations)):
            _check_without_a_past(bench)
            _check_end_of_rollout(bench)
            _check_steps_that_go_on(bench)
        _check_what_followed(bench)


def _check_once_for_each_step(bench: Bench) -> None:
    if bench.agent.replays or not bench.records:
        return
    ratio = ratio_of_double_discount(bench)
    # PPO and AC(lambda) have 1.9 to 2.4; who discounts twice has 4, and who leaves the discount out of the bootstrap or
    # of the trace about 1.
    require(
        ratio is None or 1.5 <= ratio <= 2.8,
        "the discount counts once for each step: where no episode ends, a small discount that is doubled changes what "
        f"is learned {ratio} times as much, and not about twice",
    )


def ratio_of_double_discount(bench: Bench) -> float | None:
    """What a small discount changes of the gradients of some rollouts when it is doubled, by what it changes itself.

    Of those of critics, where there are any: to a policy, advantages may count by their sign.
    """
    none, once, twice = (
        bench.gradients_from(edits.ended_nowhere, discount) for discount in (0.0, SMALL_DISCOUNT, 2 * SMALL_DISCOUNT)
    )
    if not none:
        return None
    by_once, by_twice = (
        np.linalg.norm(np.concatenate([x[name] - none[name] for name in bench.critics or none], axis=1))
        for x in (once, twice)
    )
    return round(float(by_twice / by_once), 2) if by_once > 0 else None


def _check_without_a_past(bench: Bench) -> None:
    """An eligibility trace, of which the discount is a part too, is empty where all episodes have just ended."""
    if bench.agent.replays:
        return
    ended, nowhere = (
        edits.then(edits.varied_observations, edit) for edit in (edits.ended("terminated"), edits.ended_nowhere)
    )
    state = bench.iterate(bench.ready, 0, ended)
    require(
        _ever_part(bench, state, (nowhere, bench.discount), (nowhere, bench.discount / 2)),
        "the discount counts where an episode goes on: after a rollout in which every step terminated, it changes "
        "nothing of what is learned from the next one",
    )


def _ever_part(bench: Bench, state: Any, first: tuple[Edit, float], second: tuple[Edit, float]) -> bool:
    """Whether any one rollout from a state leads to other parameters under one edit and discount than the other."""
    return any(
        not same(*(learners(bench.iterate(state, i, *way)) for way in (first, second))) for i in range(NUM_ROLLOUTS)
    )


def _check_end_of_rollout(bench: Bench) -> None:
    """What a replayed step led to is known from the rollout after it."""
    if bench.agent.replays:
        return
    other = edits.then(edits.ended_nowhere, edits.other_next_observation)
    require(
        _ever_part(bench, bench.ready, (edits.ended_nowhere, bench.discount), (other, bench.discount)),
        "the last step of a rollout is bootstrapped from: where no episode ends, another observation after it changes "
        "nothing of what is learned",
    )


def _check_steps_that_go_on(bench: Bench) -> None:
    """Discounts that are those of the step before or after are none where only the last or the first step goes on."""
    num_steps = bench.agent.cfg.num_steps
    for step in dict.fromkeys((num_steps - 1, 0)):
        require(
            _counts(bench, edits.then(edits.varied_observations, edits.goes_on_only_at(step))),
            f"the discount counts where an episode goes on: where all steps terminate but step {step} of "
            f"{num_steps} in each rollout, it changes nothing of what is learned",
        )


def _counts(bench: Bench, edit: Edit) -> bool:
    """Whether the discount ever changes what is learned; from the first state, whose replay buffer is empty."""
    return bench.part(bench.first, (edit, bench.discount), (edit, bench.discount / 2))


def _check_what_followed(bench: Bench) -> None:
    """What a replayed step is worth is seen in what followed it: as many steps later as returns are looked ahead.

    All steps are alike, and only the first ones go on: what is seen after those has to do with the discount by what it
    is worth alone.
    """
    if not bench.agent.replays or not bench.records:
        return
    alike, all_rows = edits.all_as_at(0, 0), slice(None)

    def of_discount(number: int, changed: Edit = edits.as_it_was) -> dict[str, np.ndarray]:
        edit = functools.reduce(edits.then, (alike, edits.goes_on_only_at(0, number), changed))
        discounted, not_discounted = (bench.gradients_from(edit, discount) for discount in (bench.discount, 0.0))
        return {name: discounted[name] - not_discounted[name] for name in discounted}

    seen = False
    for number in range(1, bench.agent.cfg.num_steps):
        before = of_discount(number)
        at_first, after = (
            of_discount(number, edits.other_shown_at("observation", all_rows, step)) for step in (0, number)
        )
        for name, gradient in before.items():
            by_rounding = 1e-4 * np.linalg.norm(gradient)
            if np.linalg.norm(after[name] - gradient) > by_rounding:
                return
            seen |= bool(np.linalg.norm(at_first[name] - gradient) > by_rounding)
    require(
        not seen,
        "the discount counts what followed: where all steps terminate but the first ones of each rollout, another "
        "observation after those changes nothing of what the discount adds to what is learned",
    )
