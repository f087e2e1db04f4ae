"""The check of what an algorithm learns from: rollouts are changed, and what is learned must follow, or must not."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.environments.spaces import Discrete, policy_space
from memorax.learning.optimization import Learner
from memorax.networks.network import action_mask
from memorax.testing import rollout_edits as edits
from memorax.testing.assertions import all_finite, hold, is_float, require, same
from memorax.testing.halves import half_of, moved_to_half
from memorax.testing.rollout_edits import Edit
from memorax.types import Array, PyTree, Trajectory

MOST_ITERATIONS_BEFORE_LEARNING = 1000
"""Iterations within which a small agent must have begun to learn."""


def check_learning(agent: Algorithm, seed: int = 0, num_iterations: int = 2000, exempt: Sequence[str] = ()) -> None:
    """Check what an algorithm learns, by changes of the rollouts its `_store` and `_learn` are given.

    Every network learns, every array of its parameters, and stays finite; what begins as a copy of parameters, as a
    target network does, follows them. Every step and every row of a rollout is learned from. A carry is learned from
    where a sequence goes on, and no NaN in it reaches anything where an episode starts: be it recorded in the rollout
    or a field of the state that is built as the carry of a network, which also goes on with every rollout. The discount
    counts (`gamma` of the config, where it has one), and no return crosses an end. A time limit is not a failure, no
    return crosses it either, and where it cuts an episode, what the reward is worth depends on the final observation,
    which is seen with the carry of the steps that led to it. Actions that pay are chosen more often.

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
    bench = _Bench(agent, seed)
    bench.check_parameters_move()
    hold(
        exempt,
        bench.check_copies_follow,
        bench.check_ends,
        bench.check_time_limits,
        bench.check_returns_at_time_limits,
        bench.check_every_reward_is_learned_from,
        *((bench.check_carries, bench.check_carries_at_time_limits) if bench.has_carries else ()),
        bench.check_every_array_moves,
        lambda: bench.check_actions_that_pay(num_iterations),
    )


class _Bench:
    """An agent that learns from changed rollouts, from the state in which it has begun to learn."""

    def __init__(self, agent: Algorithm, seed: int) -> None:
        self.agent = agent
        # Without weak types, so that each is compiled once, for what was edited and what was not.
        self.act = jax.jit(lambda key, state: _strongly_typed(agent.act(key, state)))
        self._learn = jax.jit(self._learned_from)
        # Ends and time limits are told apart by what follows them, which counts for nothing at a discount of zero.
        self.discount = getattr(agent.cfg, "gamma", 0.0) or 0.9
        key, first = agent.init(jax.random.key(seed))
        self.first = _strongly_typed(first)
        keys = jax.random.split(key, 2 * MOST_ITERATIONS_BEFORE_LEARNING)
        self.keys = np.asarray(jax.random.key_data(keys))
        shapes = [
            jax.eval_shape(network.initialize_carry, key, self.first.worker.timestep)
            for network in agent.networks.values()
        ]
        self.has_carries = bool(jax.tree.leaves(shapes[0])) and any(is_float(x) for x in jax.tree.leaves(shapes[0]))
        carries = [x for x in shapes if any(is_float(leaf) for leaf in jax.tree.leaves(x))]
        self.carry_fields = [
            field.name
            for field in dataclasses.fields(self.first)
            if field.name not in ("worker", *agent.donated)
            and any(_built_alike(getattr(self.first, field.name), carry) for carry in carries)
        ]

    def _learned_from(self, key: Array, state: Any, trajectory: Trajectory, discount: Array) -> Any:
        agent = _with_discount(self.agent, discount)
        return _strongly_typed(agent._learn(key, agent._store(state, trajectory), trajectory)[0])

    def key(self, iteration: int, purpose: int) -> Array:
        """A key of its own for acting (0) and for learning (1) in an iteration."""
        return jax.random.wrap_key_data(self.keys[(2 * iteration + purpose) % len(self.keys)])

    def learn(self, key: Array, state: Any, trajectory: Trajectory, discount: float | None = None) -> Any:
        """Store and learn from a rollout, with a discount of its own or the agent's."""
        return self._learn(key, state, trajectory, self.discount if discount is None else discount)

    def iterate(self, state: Any, iteration: int, edit: Edit, discount: float | None = None) -> Any:
        """Act, change the rollout, learn."""
        state, trajectory = self.act(self.key(iteration, 0), state)
        return self.learn(self.key(iteration, 1), *edit(state, trajectory), discount)

    def learned(self, state: Any) -> PyTree:
        """What is learned: the state but for where it stands and what it remembers."""
        return state.replace(worker=None, step=None, **dict.fromkeys((*self.carry_fields, *self.agent.donated)))

    def differ(self, edit: Edit, other: Edit) -> bool:
        """Whether two changes of the rollouts ever lead to different learning."""
        return self._part(self.ready, (edit, self.discount), (other, self.discount))

    def _part(self, state: Any, first: tuple[Edit, float], second: tuple[Edit, float], times: int = 1) -> bool:
        """Whether learning from a state ever goes two ways under two edits, each with a discount.

        It is looked for within `times` as many iterations as are usual here.
        """
        one = another = state
        for i in range(times * self.limit):
            one, another = self.iterate(one, i, *first), self.iterate(another, i, *second)
            if not same(self.learned(one), self.learned(another)):
                return True
        return False

    def check_parameters_move(self) -> None:
        """Every network learns within some iterations, and stays finite."""
        state, still = self.first, [""]
        for i in range(MOST_ITERATIONS_BEFORE_LEARNING):
            state = self.iterate(state, i, lambda state, trajectory: (state, trajectory))
            still = self._unmoved(state)
            if not still:
                break
        require(
            not still,
            f"learning changes the parameters of every network: within {i + 1} iterations it did not change "
            f"{' and '.join(still)}; an agent that first fills a replay buffer needs a small one here",
        )
        all_finite("what is learned is finite", self.learned(state))
        self.ready, self.limit = state, 2 * (i + 1) + 20

    def check_copies_follow(self) -> None:
        """What begins as a copy of a network's parameters, as a target network does, does not stay as it was."""
        first = self.learned(self.first)
        parameters = [jax.tree.leaves(params) for params in _learners(first)[0].values()]
        still = []
        for field in dataclasses.fields(first):
            leaves = jax.tree.leaves(getattr(first, field.name))
            if leaves and any(len(leaves) == len(x) and same(leaves, x) for x in parameters):
                still.append(field.name)
        state = self.ready
        for i in range(MOST_ITERATIONS_BEFORE_LEARNING):
            still = [name for name in still if same(getattr(first, name), getattr(state, name))]
            if not still:
                break
            state = self.iterate(state, i, lambda state, trajectory: (state, trajectory))
        require(
            not still,
            f"what begins as a copy of parameters follows them: within {MOST_ITERATIONS_BEFORE_LEARNING} iterations "
            f"{' and '.join(still)} did not change; a target network that seldom moves needs a small period here",
        )

    def check_every_array_moves(self) -> None:
        """Every array of the parameters is learned within some more iterations."""
        state = self.ready
        still = self._unmoved_leaves(state)
        for i in range(self.limit):
            if not still:
                break
            state = self.iterate(state, i, lambda state, trajectory: (state, trajectory))
            still = [name for name in self._unmoved_leaves(state) if name in still]
        require(
            not still,
            f"learning changes every parameter of a network: within {self.limit} iterations it did not change "
            f"{' and '.join(still)}",
        )

    def _unmoved_leaves(self, state: Any) -> list[str]:
        """The arrays of the learners' parameters that are as they were at first."""
        pairs = zip(*map(jax.tree_util.tree_leaves_with_path, _learners(self.first, state)), strict=True)
        # A single number may be fixed by a setting, as a temperature is.
        still = [path for (path, x), (_, y) in pairs if x.ndim and x.size and same(x, y)]
        return [f"{path[0].key}{jax.tree_util.keystr(path[1:])}" for path in still]

    def _unmoved(self, state: Any) -> list[str]:
        """The learners, and the parameters that act, that are as they were at first."""
        before, after = _learners(self.first, state)
        before = {"the parameters that act": self.agent.acting_params(self.first), **before}
        after = {"the parameters that act": self.agent.acting_params(state), **after}
        # A single number may be fixed by a setting, as a temperature is.
        networks = [name for name, params in before.items() if any(x.ndim for x in jax.tree.leaves(params))]
        return [name for name in networks if same(before[name], after[name])]

    def check_ends(self) -> None:
        """Where every step terminates, what it is worth is its reward; where none does, the discount counts."""
        terminated, nowhere = edits.ended("terminated"), edits.ended_nowhere
        require(
            not _has_discount(self.agent)
            or self._part(self.ready, (nowhere, self.discount), (nowhere, self.discount / 2)),
            "the discount counts: where no episode ends, another `gamma` changes nothing of what is learned",
        )
        # From the first state, so that a replay buffer holds nothing else.
        require(
            not self._part(self.first, (terminated, self.discount), (terminated, self.discount / 2)),
            "no return crosses an end: where every step terminates, the discount changes what is learned",
        )

    def check_time_limits(self) -> None:
        """Steps that are cut off by a time limit are no failures; what they are worth is seen in what they led to."""
        require(
            self.differ(edits.ended("truncated"), edits.ended("terminated")),
            "a time limit is not a failure: the same is learned where every step is truncated as where it terminated",
        )
        truncated = edits.ended("truncated")
        if self.differ(truncated, edits.then(truncated, edits.other_rewards)):
            require(
                self.differ(truncated, edits.then(truncated, edits.other_final_observations)),
                "the final observation is bootstrapped from after a time limit: learning follows the rewards of steps "
                "that were truncated, but not the observations they led to",
            )

    def check_returns_at_time_limits(self) -> None:
        """Where every step is cut off by a time limit, the order of the rewards within a sequence changes nothing.

        All steps are made alike but for their rewards, and rise in time or fall. Where every step terminates the order
        may change something too, as with updates at every step: then nothing can be told.
        """
        before = self._arrays(self.ready)
        moved, by_order, by_rounding = {}, {}, {}
        for name in ("terminated", "truncated"):
            every_step_ends = edits.ended(name)
            rising, falling, nearly = (
                self._arrays(
                    self.iterate(self.ready, 0, edits.then(edits.alike_but_for_rewards(slope), every_step_ends))
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

    def check_every_reward_is_learned_from(self) -> None:
        """Where every step terminates, other rewards at any one step, or in any one row, change what is learned."""
        ended, shape = edits.ended("terminated"), self.act(self.key(0, 0), self.ready)[1].reward.shape
        # A replay buffer may hold a step for as many more iterations as a rollout has steps before it is drawn.
        times = self.agent.cfg.num_steps
        for axis, kind in ((1, "step"), (0, "row")):
            for i in range(shape[axis]):
                other = edits.then(ended, edits.other_reward_at(i, axis))
                require(
                    self._part(self.ready, (ended, self.discount), (other, self.discount), times),
                    f"every step is learned from: within {times * self.limit} iterations the reward of {kind} {i} of "
                    f"{shape[axis]} in each rollout changes nothing",
                )

    def _arrays(self, state: Any) -> list[np.ndarray]:
        """What the learners have learned, array by array."""
        return [np.asarray(x) for x in jax.tree.leaves(_learners(state))]

    def check_carries(self) -> None:
        """Carries are used where sequences go on, and are not where they start."""
        interval = self.agent.carry_interval
        places = {name: functools.partial(edits.poisoned_field, name) for name in self.carry_fields}
        places["the recorded carry"] = functools.partial(edits.poisoned_recorded, interval)
        for name, poisoned in places.items():
            for parity in (0, 1):
                some_start = edits.starts(interval, parity)
                require(
                    not self.differ(some_start, edits.then(some_start, poisoned(at_starts=True))),
                    f"no carry is learned from where an episode starts: a NaN there in {name} changes what is learned",
                )
            nowhere = edits.starts(interval, edits.NOWHERE)
            require(
                not self.agent.uses_recorded_carries
                or self.differ(nowhere, edits.then(nowhere, poisoned(at_starts=False))),
                f"learning goes on from the carry before each sequence: a NaN in {name} changes nothing",
            )
        self._check_carries_go_on()

    def _check_carries_go_on(self) -> None:
        state, trajectory = self.act(self.key(0, 0), self.ready)
        state, trajectory = edits.starts(self.agent.carry_interval, edits.NOWHERE)(state, trajectory)
        one = self.learn(self.key(0, 1), state, trajectory)
        another = self.learn(self.key(0, 1), *edits.other_last_observation(state, trajectory))
        for name in self.carry_fields:
            require(
                not same(getattr(one, name), getattr(another, name)),
                f"{name} goes on with the rollout: what was seen last does not change it",
            )

    def check_carries_at_time_limits(self) -> None:
        """Where a time limit cuts off a rollout's last step, that step is worth what it is where the episode goes on.

        Both lead to the same observation. A replay buffer learns from a step once it knows what followed, which the
        last step of a rollout that goes on does not say.
        """

        def differs(discount: float) -> bool:
            return self._share_that_a_time_limit_changes(discount) > 1e-3

        # What differs at a discount of zero too is another loss than that of values. Far above one, the value of what
        # the last step led to is most of what is learned.
        require(
            self.agent.replays or differs(0.0) or not differs(30.0),
            "the final observation is seen with the carry before it: where a time limit cuts off the last step of a "
            "rollout, learning differs from where the episode goes on to the same observation",
        )

    def _share_that_a_time_limit_changes(self, discount: float) -> float:
        """How far a time limit at the last step changes what acts, as a fraction of how far it is learned.

        The median over arrays: optimizers that divide by a gradient's size, as Adam does, make whole steps of one that
        is all rounding.
        """
        nowhere = edits.starts(self.agent.carry_interval, edits.NOWHERE)
        before, cut, whole = (
            [np.asarray(x) for x in jax.tree.leaves(self.agent.acting_params(state))]
            for state in (
                self.ready,
                self.iterate(self.ready, 0, edits.then(nowhere, edits.last_step_cut_off(True)), discount),
                self.iterate(self.ready, 0, edits.then(nowhere, edits.last_step_cut_off(False)), discount),
            )
        )
        moved, changed = _largest_differences(whole, before), _largest_differences(whole, cut)
        return float(np.median(changed[moved > 0] / moved[moved > 0])) if moved.any() else 0.0

    def check_actions_that_pay(self, num_iterations: int) -> None:
        """The greedy policy learns to choose the half of the actions that pays, whichever does.

        Where every step terminates, and where episodes go on: there an action that is paid one step late is also
        learned to pay, as what follows counts. What learns from replay is given actions that seldom pay, never twice in
        a row: of its own it soon repeats one, so that the reward of the step before is mostly that of the same action.
        """
        space = self.agent.env.action_space(self.agent.env_params)
        masked = action_mask(self.first.worker.timestep.observation) is not None
        if (isinstance(space, Discrete) and space.n < 2) or (masked and not isinstance(space, Discrete)):
            return
        samples = jax.vmap(policy_space(space).sample)(jax.random.split(jax.random.key(0), 256))
        largest = jax.tree.map(lambda x: np.max(x, axis=0), samples)
        for sign in (1.0, -1.0):

            def pays(state: Any, trajectory: Trajectory, sign: float = sign) -> tuple[Any, Trajectory]:
                half, _ = half_of(trajectory.action, trajectory.timesteps.observation)
                return state, trajectory.replace(reward=sign * half)

            self._check_chosen(sign, pays, "episodes go on", num_iterations)
            at_once = edits.then(edits.paid_at_once, pays)
            if self.agent.replays:
                at_once = edits.then(functools.partial(_seldom_in_half, sign, largest), at_once)
            self._check_chosen(sign, at_once, "every step terminates", num_iterations)

    def _check_chosen(self, sign: float, pays: Edit, where: str, num_iterations: int) -> None:
        state, mean = self.first, -1.0
        for i in range(num_iterations):
            state = self.iterate(state, i, pays)
            if i % 10 == 9:
                _, transitions = self.agent.evaluate(self.key(i, 0), state, 3 * self.agent.cfg.num_envs)
                half, chosen = half_of(transitions.action, transitions.observation)
                mean = float(sign * half[chosen].mean()) if chosen.any() else 1.0
                if mean >= 0.5:
                    break
        require(
            mean >= 0.5,
            f"actions that pay are chosen, where {where}: after {num_iterations} iterations in which one half of the "
            f"actions pays 1 and the other -1 the greedy policy is paid {mean:.2f}",
        )


def _learners(*states: Any) -> list[dict[str, PyTree]]:
    """The parameters of each learner of each state, by the learner's name."""

    def learners(state: Any) -> dict[str, PyTree]:
        leaves = jax.tree_util.tree_leaves_with_path(state, is_leaf=lambda x: isinstance(x, Learner))
        return {jax.tree_util.keystr(path): x.params for path, x in leaves if isinstance(x, Learner)}

    return [learners(state) for state in states]


def _has_discount(agent: Algorithm) -> bool:
    return "gamma" in {field.name for field in dataclasses.fields(agent.cfg)}


def _with_discount(agent: Algorithm, discount: Array) -> Algorithm:
    """The same agent with another discount, which may be traced; the agent itself where its config has none."""
    if not _has_discount(agent):
        return agent
    # Neither is made anew: a config looks at its values, which must not be traced, and agents cannot be changed.
    cfg, other = copy.copy(agent.cfg), copy.copy(agent)
    object.__setattr__(cfg, "gamma", discount)
    object.__setattr__(other, "cfg", cfg)
    return other


def _strongly_typed(tree: PyTree) -> PyTree:
    """The same arrays, whose types do not depend on what they are combined with."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype) if is_float(x) else x, tree)


def _built_alike(tree: PyTree, carry: PyTree) -> bool:
    described = [jax.tree.map(lambda x: (np.shape(x), getattr(x, "dtype", None)), x) for x in (tree, carry)]
    return described[0] == described[1]


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
