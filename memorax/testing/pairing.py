"""The check of what is learned together: what was seen at a step with what was paid there."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np

from memorax.networks.network import unroll_step
from memorax.testing import rollout_edits as edits
from memorax.testing.assertions import require, same
from memorax.testing.bench import Bench
from memorax.testing.rollout_edits import Edit
from memorax.types import Trajectory

NEIGHBOURS = 8
"""Steps and rows beside a step whose observations are changed."""

Place = tuple[int, int]
"""A row and a step."""


def check_observations_go_with_rewards(bench: Bench) -> None:
    """Where every step is an episode and one alone is paid, what was seen there changes most of what is learned."""
    paid_place, others = _places(bench.act(bench.key(0, 0), bench.ready)[1])
    if paid_place is None or not others:
        return
    row, step = paid_place
    paid = edits.then(edits.ended("terminated"), edits.paid_only_at(row, step))
    changed_at = functools.partial(edits.other_shown_at, "observation")
    ratios = ratios_to_own_effect(bench, paid, changed_at, paid_place, others)
    # Of a critic by itself it is 0.75 at most, and 14 or more where its targets or observations are those of another
    # step. What is drawn from replay says little of a single network. A critic comes first, as its name tells more.
    for name in () if bench.agent.replays else bench.critics:
        _require_own_is_largest(ratios[name], 3.0, paid_place, f"what {name} learns")
    # Of the algorithms here the right ones give others 0.6 times the step's own effect at most over all they learn, and
    # those that learn from what was seen a step earlier or later give one of them twice as much or more.
    _require_own_is_largest(ratios["all"], 1.25, paid_place, "what is learned")


def check_previous_actions_go_with_rewards(bench: Bench) -> None:
    """Where one step alone is paid, the action before it matters more than those before its neighbours."""
    paid_place, others = _places(bench.act(bench.key(0, 0), bench.ready)[1])
    if paid_place is None or not others or bench.agent.replays or not shows_previous(bench, "action"):
        return
    row, step = paid_place
    # The first and the last step before it, and another row: there a shifted action comes from or goes to.
    others = [place for place in others if place in ((row, 0), (row, step - 1))] + others[-1:]
    paid = edits.then(edits.ended("terminated"), edits.paid_only_at(row, step))
    changed_at = functools.partial(edits.other_shown_at, "action")
    ratios = ratios_to_own_effect(bench, paid, changed_at, paid_place, others)
    # The algorithms here have 0.95 at most over all they learn, and 0.7 of a critic; those that are shown the action of
    # another step 6 or more.
    for name, learned in [*((name, f"what {name} learns") for name in bench.critics), ("all", "what is learned")]:
        _require_own_is_largest(ratios[name], 2.4, paid_place, learned, "the previous action")


def shows_previous(bench: Bench, name: str) -> bool:
    """Whether the acting network sees the action (`name` "action") or the reward before each step."""
    acting, worker = next(iter(bench.agent.networks.values())), bench.ready.worker
    other = worker.timestep.replace(**{name: jax.tree.map(edits.changed, getattr(worker.timestep, name))})
    seen, otherwise = (
        unroll_step(acting, bench.agent.acting_params(bench.ready), timestep, worker.carry)
        for timestep in (worker.timestep, other)
    )
    return not same(jax.tree.leaves(seen), jax.tree.leaves(otherwise))


def _places(trajectory: Trajectory) -> tuple[Place | None, list[Place]]:
    """A step to be paid, and steps and rows beside it; None where no row has one that counts."""
    active = np.ones(trajectory.reward.shape, bool) if trajectory.active is None else np.asarray(trajectory.active)
    rows, steps = active.shape
    # The last step of a row, so that with an update at every step none comes after what the reward changes.
    row, step = int(np.argmax(active[:, -1])), steps - 1
    places = [(row, t) for t in range(steps - 1)][-NEIGHBOURS:]
    places += [(other, step) for other in range(rows) if other != row][:NEIGHBOURS]
    return ((row, step) if active[row, step] else None), places


def ratios_to_own_effect(
    bench: Bench, paid: Edit, changed_at: Callable[[int, int], Edit], own: Place, others: list[Place]
) -> dict[str, dict[Place, float]]:
    """What a change at other places changes of what is learned, by what the one at the paid place does.

    Medians over rollouts, by the name of each learner of more than a single number, and of all learners as `all`.
    """
    learned = bench.learned_from(paid)

    def effects(place: Place) -> dict[str, np.ndarray]:
        other = bench.learned_from(edits.then(paid, changed_at(*place)))
        return {name: np.linalg.norm(other[name] - learned[name], axis=1) for name in learned}  # (R,)

    of_own, of_others = effects(own), {place: effects(place) for place in others}
    smallest = np.finfo(np.float32).tiny
    return {
        name: {place: float(np.median(of_others[place][name] / np.maximum(of_own[name], smallest))) for place in others}
        for name in learned
    }


def _require_own_is_largest(
    ratios: dict[Place, float], limit: float, own: Place, what: str, changed: str = "what was seen"
) -> None:
    largest = max(ratios, key=ratios.__getitem__)
    require(
        ratios[largest] <= limit,
        f"what is learned from is what was acted on: where step {own[1]} of row {own[0]} alone is paid, {changed} "
        f"at step {largest[1]} of row {largest[0]} changes more of {what}",
    )
