"""The check of what is learned together: what was seen at a step with what was paid there."""

from __future__ import annotations

import functools

import jax
import numpy as np

from memorax.networks.network import unroll_step
from memorax.testing import rollout_edits as edits
from memorax.testing.assertions import require, same
from memorax.testing.bench import Bench
from memorax.testing.rollout_edits import Edit
from memorax.types import Trajectory

MOST_PLACES = 64
"""Steps of a rollout at which something else is shown: those nearest to the one that is paid."""

AMOUNT = 1e4
"""What a step is paid or fined, far more than anything is worth to an agent that has begun to learn."""

Place = tuple[int, int]
"""A row and a step."""


def check_observations_go_with_rewards(bench: Bench) -> None:
    """What a step is paid counts by what was seen there."""
    _check_goes_with_rewards(bench, "observation", "what was seen")


def check_previous_actions_and_rewards_go_with_rewards(bench: Bench) -> None:
    """What a step is paid counts by the action and the reward before it, where they are shown."""
    for name in ("action", "reward"):
        if shows_previous(bench, name):
            _check_goes_with_rewards(bench, name, f"the previous {name}")


def _check_goes_with_rewards(bench: Bench, name: str, changed: str) -> None:
    paid_place, others = places(bench.act(bench.key(0, 0), bench.ready)[1])
    if paid_place is None or not others or not bench.records:
        return
    for learner, ratio in ratios_to_own_effect(bench, name, paid_place, others).items():
        largest = max(ratio, key=ratio.__getitem__)
        # Right agents have 0 wherever a loss is a sum over steps, and 1 at most where advantages are standardised. What
        # goes with another step has the inverse.
        require(
            ratio[largest] <= 1.5,
            f"what is learned from is what was acted on: where step {paid_place[1]} of row {paid_place[0]} alone is "
            f"paid, {changed} at step {largest[1]} of row {largest[0]} changes more of what {learner} learns",
        )


def shows_previous(bench: Bench, name: str) -> bool:
    """Whether the acting network sees the action (`name` "action") or the reward before each step."""
    acting, worker = next(iter(bench.agent.networks.values())), bench.ready.worker
    other = worker.timestep.replace(**{name: jax.tree.map(edits.changed, getattr(worker.timestep, name))})
    seen, otherwise = (
        unroll_step(acting, bench.agent.acting_params(bench.ready), timestep, worker.carry)
        for timestep in (worker.timestep, other)
    )
    return not same(jax.tree.leaves(seen), jax.tree.leaves(otherwise))


def places(trajectory: Trajectory) -> tuple[Place | None, list[Place]]:
    """A step to be paid, and others near it, whose last steps and rows the first ones are next to.

    There is none to be paid where no row has one that counts.
    """
    active = np.ones(trajectory.reward.shape, bool) if trajectory.active is None else np.asarray(trajectory.active)
    rows, steps = active.shape
    # The last step of a row, so that with an update at every step none comes after what the reward changes.
    row, step = int(np.argmax(active[:, -1])), steps - 1
    distances = {
        (other, t): min(abs(other - row), rows - abs(other - row)) + min(step - t, steps - (step - t))
        for other, t in np.ndindex(rows, steps)
        if (other, t) != (row, step)
    }
    nearest = sorted(distances, key=distances.__getitem__)[:MOST_PLACES]
    return ((row, step) if active[row, step] else None), nearest


def ratios_to_own_effect(bench: Bench, name: str, own: Place, others: list[Place]) -> dict[str, dict[Place, float]]:
    """How much what is shown at other places has to do with a reward, by how much what is shown at its own place has.

    All steps are alike, and each is an episode of its own. One is paid, or fined: what else is shown at a place changes
    the gradients of both by the same, but for what the reward has to do with it. The ratios are by the name of each
    learner; those are left out to which neither has anything to do with it.
    """
    alike = edits.all_as_at(*own)

    def gradients(amount: float, first: Edit, changed: Edit = edits.as_it_was) -> dict[str, np.ndarray]:
        changes = (first, edits.ended("terminated"), edits.paid_only_at(*own, amount), changed)
        return bench.gradients_from(functools.reduce(edits.then, changes))

    def of_reward(changed: Edit = edits.as_it_was) -> dict[str, np.ndarray]:
        paid, fined = (gradients(amount, alike, changed) for amount in (AMOUNT, -AMOUNT))
        return {learner: paid[learner] - fined[learner] for learner in paid}

    before = of_reward()

    def effects(place: Place) -> dict[str, float]:
        after = of_reward(edits.other_shown_at(name, *place))
        return {learner: float(np.linalg.norm(after[learner] - before[learner])) for learner in after}

    of_own, of_others = effects(own), {place: effects(place) for place in others}
    # Where all steps are alike, what a policy learns from one may cancel what it learns from the others.
    sizes = {learner: float(np.linalg.norm(x)) for learner, x in gradients(AMOUNT, edits.as_it_was).items()}
    ratios = {}
    for learner, size in sizes.items():
        by_rounding = 1e-4 * max(size, float(np.linalg.norm(before[learner])))
        if max(of_own[learner], *(effect[learner] for effect in of_others.values())) > by_rounding:
            smallest = max(of_own[learner], float(np.finfo(np.float32).tiny))
            ratios[learner] = {place: effect[learner] / smallest for place, effect in of_others.items()}
    return ratios
