"""The check of what an algorithm learns from: rollouts are changed, and what is learned must follow, or must not."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.environments.spaces import Discrete, policy_space
from memorax.networks.network import action_mask
from memorax.testing import rollout_edits as edits
from memorax.testing.assertions import hold, require, same
from memorax.testing.bench import MOST_ITERATIONS_BEFORE_LEARNING, Bench, has_discount, learners
from memorax.testing.circumstances import (
    check_agents_that_went_out,
    check_buffer_goes_on,
    check_masks_are_learned_with,
)
from memorax.testing.discounting import check_discounting
from memorax.testing.halves import half_of, moved_to_half
from memorax.testing.pairing import (
    check_observations_go_with_rewards,
    check_previous_actions_and_rewards_go_with_rewards,
    shows_previous,
)
from memorax.testing.recorded import check_what_is_kept_is_used, copies_of_parameters
from memorax.testing.rollout_edits import Edit
from memorax.types import PyTree, Trajectory


def check_learning(agent: Algorithm, seed: int = 0, num_iterations: int = 2000, exempt: Sequence[str] = ()) -> None:
    """Check what an algorithm learns, by changes of the rollouts its `_store` and `_learn` are given.

    Every network learns, every array of its parameters, and stays finite; what begins as a copy of parameters, as a
    target network does, follows them. Every step and every row of a rollout is learned from, each with what was seen
    and shown at it. A carry is learned from where a sequence goes on, and no NaN in it reaches anything where an
    episode starts: be it recorded in the rollout or a field of the state that is built as the carry of a network, which
    also goes on with every rollout. Copies of parameters, recorded log-probabilities and the states of optimizers are
    used. The discount counts (`gamma` of the config, where it has one), once for each step that goes on, by what
    followed it, and no return crosses an end. A time limit is not a failure, no return crosses it either, and where it
    cuts an episode, what the reward is worth depends on the final observation, which is seen with the carry of the
    steps that led to it. Masks of actions are learned with, agents that went out are not learned from, and a full
    replay buffer is written over. Actions that pay are chosen more often.

    What goes with which reward, how often the discount counts and what followed a replayed step is seen in the
    gradients that are given to the agent's optimizers: to those among its attributes, by which a `Learner` of its state
    is trained.

    What cannot be seen: a return that crosses a time limit where the order of steps counts anyway, as with replay, with
    an update at each step or with minibatches of single steps, and, with replay or an update at each step, a final
    observation that is seen with another carry.

    Args:
        agent: the agent.
        seed: random seed of the check.
        num_iterations: iterations within which the greedy policy must have learned which actions pay.
        exempt: truths that need not hold, as for an algorithm without a critic, each by the words that its error begins
            with: `("a time limit is not a failure",)`. A first error hides the others.

    Raises:
        AssertionError: naming the truth that does not hold.
    """
    check_learning_on(Bench(agent, seed), num_iterations, exempt)


def check_learning_on(bench: Bench, num_iterations: int = 2000, exempt: Sequence[str] = ()) -> None:
    """`check_learning` of an agent that has begun to learn."""
    checks = [
        _check_copies_follow,
        check_what_is_kept_is_used,
        _check_ends,
        _check_time_limits,
        _check_returns_at_time_limits,
        _check_every_reward_is_learned_from,
        check_discounting,
        _check_previous_actions_and_rewards,
        check_observations_go_with_rewards,
        check_previous_actions_and_rewards_go_with_rewards,
        check_masks_are_learned_with,
        check_agents_that_went_out,
        check_buffer_goes_on,
        *((_check_carries, _check_carries_at_time_limits) if bench.has_carries else ()),
        _check_every_array_moves,
        functools.partial(_check_actions_that_pay, num_iterations=num_iterations),
    ]
    hold(exempt, *(functools.partial(check, bench) for check in checks))


def _check_copies_follow(bench: Bench) -> None:
    """What begins as a copy of a network's parameters, as a target network does, does not stay as it was."""
    first, state, still = bench.first, bench.ready, copies_of_parameters(bench)
    for i in range(MOST_ITERATIONS_BEFORE_LEARNING):
        still = [name for name in still if same(getattr(first, name), getattr(state, name))]
        if not still:
            break
        state = bench.iterate(state, i, edits.as_it_was)
    require(
        not still,
        f"what begins as a copy of parameters follows them: within {MOST_ITERATIONS_BEFORE_LEARNING} iterations "
        f"{' and '.join(still)} did not change; a target network that seldom moves needs a small period here",
    )


def _check_every_array_moves(bench: Bench) -> None:
    """Every array of the parameters is learned within some more iterations."""
    state = bench.ready
    still = _unmoved_leaves(bench, state)
    for i in range(bench.limit):
        if not still:
            break
        state = bench.iterate(state, i, edits.as_it_was)
        still = [name for name in _unmoved_leaves(bench, state) if name in still]
    require(
        not still,
        f"learning changes every parameter of a network: within {bench.limit} iterations it did not change "
        f"{' and '.join(still)}",
    )


def _unmoved_leaves(bench: Bench, state: Any) -> list[str]:
    """The arrays of the learners' parameters that are as they were at first."""
    pairs = zip(*(jax.tree_util.tree_leaves_with_path(learners(x)) for x in (bench.first, state)), strict=True)
    # A single number may be fixed by a setting, as a temperature is.
    still = [path for (path, x), (_, y) in pairs if x.ndim and x.size and same(x, y)]
    return [f"{path[0].key}{jax.tree_util.keystr(path[1:])}" for path in still]


def _check_ends(bench: Bench) -> None:
    """Where every step terminates, what it is worth is its reward; where none does, the discount counts."""
    # What follows an end is seen to count for nothing only where it is worth something.
    terminated = edits.then(edits.varied_observations, edits.ended("terminated"))
    nowhere = edits.ended_nowhere
    require(
        not has_discount(bench.agent)
        or bench.part(bench.ready, (nowhere, bench.discount), (nowhere, bench.discount / 2)),
        "the discount counts: where no episode ends, another `gamma` changes nothing of what is learned",
    )
    # From the first state, so that a replay buffer holds nothing else.
    require(
        not bench.part(bench.first, (terminated, bench.discount), (terminated, bench.discount / 2)),
        "no return crosses an end: where every step terminates, the discount changes what is learned",
    )


def _check_time_limits(bench: Bench) -> None:
    """Steps that are cut off by a time limit are no failures; what they are worth is seen in what they led to."""
    require(
        bench.differ(edits.ended("truncated"), edits.ended("terminated")),
        "a time limit is not a failure: the same is learned where every step is truncated as where it terminated",
    )
    truncated = edits.ended("truncated")
    if bench.differ(truncated, edits.then(truncated, edits.other_rewards)):
        require(
            bench.differ(truncated, edits.then(truncated, edits.other_final_observations)),
            "the final observation is bootstrapped from after a time limit: learning follows the rewards of steps "
            "that were truncated, but not the observations they led to",
        )


def _check_returns_at_time_limits(bench: Bench) -> None:
    """Where every step is cut off by a time limit, the order of the rewards within a sequence changes nothing.

    All steps are made alike but for their rewards, and rise in time or fall. Where every step terminates the order
    may change something too, as with updates at every step: then nothing can be told.
    """
    before = bench.arrays(bench.ready)
    alike = edits.all_as_at(0, 0)
    moved, by_order, by_rounding = {}, {}, {}
    for name in ("terminated", "truncated"):
        ends = edits.ended(name)
        rising, falling, nearly = (
            bench.arrays(
                bench.iterate(bench.ready, 0, functools.reduce(edits.then, (alike, edits.rising_rewards(slope), ends)))
            )
            for slope in (1.0, -1.0, 1.0 + 1e-5)
        )
        moved[name], by_order[name] = _largest_differences(rising, before), _largest_differences(rising, falling)
        by_rounding[name] = _largest_differences(rising, nearly)
    told = (moved["terminated"] > 0) & (by_order["terminated"] <= 1e-3 * moved["terminated"])
    # Optimizers that divide by a gradient's size, as Adam does, make whole steps of one that is all rounding.
    told &= by_rounding["truncated"] <= 1e-3 * moved["truncated"]
    crosses = told & (by_order["truncated"] > 1e-2 * moved["truncated"])
    require(
        not crosses.any(),
        "no return crosses a time limit: where every step is truncated, the order of the rewards changes what is "
        "learned",
    )


def _check_every_reward_is_learned_from(bench: Bench) -> None:
    """Where every step terminates, other rewards at any one step, or in any one row, change what is learned."""
    ended, shape = edits.ended("terminated"), bench.act(bench.key(0, 0), bench.ready)[1].reward.shape
    # A replay buffer may hold a step for as many more iterations as a rollout has steps before it is drawn.
    times = bench.agent.cfg.num_steps
    for axis, kind in ((1, "step"), (0, "row")):
        for i in range(shape[axis]):
            other = edits.then(ended, edits.other_reward_at(i, axis))
            require(
                bench.part(bench.ready, (ended, bench.discount), (other, bench.discount), times),
                f"every step is learned from: within {times * bench.limit} iterations the reward of {kind} {i} of "
                f"{shape[axis]} in each rollout changes nothing",
            )


def _check_previous_actions_and_rewards(bench: Bench) -> None:
    """What the acting network is shown of the step before, it is also shown as it learns."""
    for name in ("action", "reward"):
        require(
            not shows_previous(bench, name) or bench.differ(edits.as_it_was, edits.other_previous(name)),
            f"what is learned from is what was acted on: the acting network is shown its previous {name}, and "
            "another one changes nothing of what is learned",
        )


def _check_carries(bench: Bench) -> None:
    """Carries are used where sequences go on, and are not where they start."""
    interval = bench.agent.carry_interval
    places = {name: functools.partial(edits.poisoned_field, name) for name in bench.carry_fields}
    places["the recorded carry"] = functools.partial(edits.poisoned_recorded, interval)
    for name, poisoned in places.items():
        for parity in (0, 1):
            some_start = edits.starts(interval, parity)
            require(
                not bench.differ(some_start, edits.then(some_start, poisoned(at_starts=True))),
                f"no carry is learned from where an episode starts: a NaN there in {name} changes what is learned",
            )
        nowhere = edits.starts(interval, edits.NOWHERE)
        require(
            not bench.agent.uses_recorded_carries
            or bench.differ(nowhere, edits.then(nowhere, poisoned(at_starts=False))),
            f"learning goes on from the carry before each sequence: a NaN in {name} changes nothing",
        )
    _check_carries_go_on(bench)


def _check_carries_go_on(bench: Bench) -> None:
    state, trajectory = bench.act(bench.key(0, 0), bench.ready)
    state, trajectory = edits.starts(bench.agent.carry_interval, edits.NOWHERE)(state, trajectory)
    one = bench.learn(bench.key(0, 1), state, trajectory)
    another = bench.learn(bench.key(0, 1), *edits.other_last_observation(state, trajectory))
    for name in bench.carry_fields:
        require(
            not same(getattr(one, name), getattr(another, name)),
            f"{name} goes on with the rollout: what was seen last does not change it",
        )


def _check_carries_at_time_limits(bench: Bench) -> None:
    """Where a time limit cuts off a rollout's last step, that step is worth what it is where the episode goes on.

    Both lead to the same observation. A replay buffer learns from a step once it knows what followed, which the
    last step of a rollout that goes on does not say.
    """

    def differs(discount: float) -> bool:
        return _share_that_a_time_limit_changes(bench, discount) > 1e-3

    # What differs at a discount of zero too is another loss than that of values. Far above one, the value of what
    # the last step led to is most of what is learned.
    require(
        bench.agent.replays or differs(0.0) or not differs(30.0),
        "the final observation is seen with the carry before it: where a time limit cuts off the last step of a "
        "rollout, learning differs from where the episode goes on to the same observation",
    )


def _share_that_a_time_limit_changes(bench: Bench, discount: float) -> float:
    """How far a time limit at the last step changes what acts, as a fraction of how far it is learned.

    The median over arrays: optimizers that divide by a gradient's size, as Adam does, make whole steps of one that
    is all rounding.
    """
    nowhere = edits.starts(bench.agent.carry_interval, edits.NOWHERE)
    before, cut, whole = (
        [np.asarray(x) for x in jax.tree.leaves(bench.agent.acting_params(state))]
        for state in (
            bench.ready,
            bench.iterate(bench.ready, 0, edits.then(nowhere, edits.last_step_cut_off(True)), discount),
            bench.iterate(bench.ready, 0, edits.then(nowhere, edits.last_step_cut_off(False)), discount),
        )
    )
    moved, changed = _largest_differences(whole, before), _largest_differences(whole, cut)
    return float(np.median(changed[moved > 0] / moved[moved > 0])) if moved.any() else 0.0


def _check_actions_that_pay(bench: Bench, num_iterations: int) -> None:
    """The greedy policy learns to choose the half of the actions that pays, whichever does.

    Where every step terminates, and where episodes go on: there an action that is paid one step late is also
    learned to pay, as what follows counts. What learns from replay is given actions that seldom pay, never twice in
    a row: of its own it soon repeats one, so that the reward of the step before is mostly that of the same action.
    """
    space = bench.agent.env.action_space(bench.agent.env_params)
    masked = action_mask(bench.first.worker.timestep.observation) is not None
    if (isinstance(space, Discrete) and space.n < 2) or (masked and not isinstance(space, Discrete)):
        return
    samples = jax.vmap(policy_space(space).sample)(jax.random.split(jax.random.key(0), 256))
    largest = jax.tree.map(lambda x: np.max(x, axis=0), samples)
    for sign in (1.0, -1.0):

        def pays(state: Any, trajectory: Trajectory, sign: float = sign) -> tuple[Any, Trajectory]:
            half, _ = half_of(trajectory.action, trajectory.timesteps.observation)
            return state, trajectory.replace(reward=sign * half)

        _check_chosen(bench, sign, pays, "episodes go on", num_iterations)
        at_once = edits.then(edits.paid_at_once, pays)
        if bench.agent.replays:
            at_once = edits.then(functools.partial(_seldom_in_half, sign, largest), at_once)
        _check_chosen(bench, sign, at_once, "every step terminates", num_iterations)


def _check_chosen(bench: Bench, sign: float, pays: Edit, where: str, num_iterations: int) -> None:
    state, mean = bench.first, -1.0
    for i in range(num_iterations):
        state = bench.iterate(state, i, pays)
        if i % 10 == 9:
            _, transitions = bench.agent.evaluate(bench.key(i, 0), state, 3 * bench.agent.cfg.num_envs)
            half, chosen = half_of(transitions.action, transitions.observation)
            mean = float(sign * half[chosen].mean()) if chosen.any() else 1.0
            if mean >= 0.5:
                break
    require(
        mean >= 0.5,
        f"actions that pay are chosen, where {where}: after {num_iterations} iterations in which one half of the "
        f"actions pays 1 and the other -1 the greedy policy is paid {mean:.2f}",
    )


def _largest_differences(arrays: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray:
    return np.array([np.max(np.abs(x - y), initial=0.0) for x, y in zip(arrays, others, strict=True)])


def _seldom_in_half(half: float, largest: PyTree, state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """Actions of one half at every fourth step of a row, and of the other at all others."""
    rows, steps = np.indices(trajectory.reward.shape)
    wanted = np.where((rows + steps) % 4 == 0, half, -half)
    action = moved_to_half(trajectory.action, trajectory.timesteps.observation, wanted, largest)
    previous = jax.tree.map(
        lambda first, x: np.concatenate([first[:, :1], x[:, :-1]], axis=1), trajectory.timesteps.action, action
    )
    following = trajectory.next_timestep.replace(action=jax.tree.map(lambda x: x[:, -1], action))
    timesteps = trajectory.timesteps.replace(action=previous)
    return state, trajectory.replace(action=action, timesteps=timesteps, next_timestep=following)
