"""An agent that learns from changed rollouts, from the state in which it has begun to learn."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.learning.optimization import Learner
from memorax.testing import rollout_edits as edits
from memorax.testing.assertions import all_finite, is_float, require, same
from memorax.testing.recorder import optimizers_of, recording_from, with_recorders, with_recorders_in
from memorax.testing.rollout_edits import Edit
from memorax.types import Array, PyTree, Trajectory

MOST_ITERATIONS_BEFORE_LEARNING = 1000
"""Iterations within which a small agent must have begun to learn."""

NUM_ROLLOUTS = 2
"""Rollouts from which gradients are taken."""

NUM_DRAWS = 8
"""Draws from a replay buffer likewise: a single one may have left out what counts."""


class Bench:
    """An agent that learns from changed rollouts.

    Attributes:
        agent: the agent.
        records: whether it has optimizers among its attributes, which are then asked for gradients.
        discount: the discount it learns with where nothing else is said.
        first: its state before the first step.
        ready: its state once every network has learned something.
        limit: iterations within which a change of the rollouts shows, if it ever does.
        has_carries: whether the acting network has a carry with real numbers.
        carry_fields: fields of the state that are built as the carry of a network.
        critics: learners of more than a single number whose parameters do not act. What a small policy learns from a
            step is its advantage among those of all steps: a critic tells better which step it learned from.
    """

    def __init__(self, agent: Algorithm, seed: int) -> None:
        self.agent = agent
        # Without weak types, so that each is compiled once, for what was edited and what was not.
        self.act = jax.jit(lambda key, state: _strongly_typed(agent.act(key, state)))
        self.records = bool(optimizers_of(agent))
        learner = with_recorders(agent, first_only=agent.replays) if self.records else agent
        self._learn = jax.jit(functools.partial(_learn_from, learner))
        # Ends and time limits are told apart by what follows them, which counts for nothing at a discount of zero.
        self.discount = getattr(agent.cfg, "gamma", 0.0) or 0.9
        key, first = agent.init(jax.random.key(seed))
        self.first = _strongly_typed(with_recorders_in(first) if self.records else first)
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
        self.ready, self.limit = self._begin()
        self.critics = self._critics()

    def _begin(self) -> tuple[Any, int]:
        """The state in which every network has learned something, and the iterations to look for changes in.

        Raises:
            AssertionError: if a network learns nothing or does not stay finite.
        """
        state, still = self.first, [""]
        for i in range(MOST_ITERATIONS_BEFORE_LEARNING):
            state = self.iterate(state, i, edits.as_it_was)
            still = self._unmoved(state)
            if not still:
                break
        require(
            not still,
            f"learning changes the parameters of every network: within {i + 1} iterations it did not change "
            f"{' and '.join(still)}; an agent that first fills a replay buffer needs a small one here",
        )
        all_finite("what is learned is finite", self.learned(state))
        return state, 2 * (i + 1) + 20

    def _critics(self) -> list[str]:
        acting = jax.tree.leaves(self.agent.acting_params(self.ready))
        return [
            name
            for name, params in learners(self.ready).items()
            if _as_vector(params).size > 1 and not any(x is y for x in jax.tree.leaves(params) for y in acting)
        ]

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
        return self.part(self.ready, (edit, self.discount), (other, self.discount))

    def part(self, state: Any, first: tuple[Edit, float], second: tuple[Edit, float], times: int = 1) -> bool:
        """Whether learning from a state ever goes two ways under two edits, each with a discount.

        It is looked for within `times` as many iterations as are usual here.
        """
        one = another = state
        for i in range(times * self.limit):
            one, another = self.iterate(one, i, *first), self.iterate(another, i, *second)
            if not same(self.learned(one), self.learned(another)):
                return True
        return False

    def _unmoved(self, state: Any) -> list[str]:
        """The learners, and the parameters that act, that are as they were at first."""
        before, after = learners(self.first), learners(state)
        before = {"the parameters that act": self.agent.acting_params(self.first), **before}
        after = {"the parameters that act": self.agent.acting_params(state), **after}
        # A single number may be fixed by a setting, as a temperature is.
        networks = [name for name, params in before.items() if any(x.ndim for x in jax.tree.leaves(params))]
        return [name for name in networks if same(before[name], after[name])]

    def gradients_from(self, edit: Edit, discount: float | None = None) -> dict[str, np.ndarray]:
        """The sum of the gradients that each learner's optimizer is given from each of some rollouts, `[R, numbers]`.

        Parameters stay as they are, so that nothing counts but what the losses say. Of what is learned from replay it
        is the first one, for each of some draws: later draws may depend on what the first one said. The replay buffer
        holds nothing else than such rollouts.
        """
        state = recording_from(self.first if self.agent.replays else self.ready)
        for i in range(self._rollouts_before_learning if self.agent.replays else 0):
            # Networks that are trained earlier than others begin anew.
            state = recording_from(self.iterate(state, i, edit, discount))
        learned = []
        for i in range(NUM_DRAWS if self.agent.replays else NUM_ROLLOUTS):
            edited = edit(*self.act(self.key(0 if self.agent.replays else i, 0), state))
            learned.append(_learners_by_name(self.learn(self.key(i, 1), *edited, discount)))
        return {
            name: np.stack([_as_vector(learner[name].optimizer_state.total) for learner in learned])
            for name in learned[0]
        }

    @functools.cached_property
    def _rollouts_before_learning(self) -> int:
        """How many rollouts are replayed before anything is learned from."""
        state = recording_from(self.first)
        for i in range(MOST_ITERATIONS_BEFORE_LEARNING):
            state = self.iterate(state, i, edits.as_it_was)
            if all(int(learner.optimizer_state.count) for learner in _learners_by_name(state).values()):
                return i
        return 0

    def arrays(self, state: Any) -> list[np.ndarray]:
        """What the learners have learned, array by array."""
        return [np.asarray(x) for x in jax.tree.leaves(learners(state))]


def learners(state: Any) -> dict[str, PyTree]:
    """The parameters of each learner of a state, by the learner's name."""
    return {name: learner.params for name, learner in _learners_by_name(state).items()}


def _learners_by_name(state: Any) -> dict[str, Learner]:
    leaves = jax.tree_util.tree_leaves_with_path(state, is_leaf=lambda x: isinstance(x, Learner))
    return {jax.tree_util.keystr(path): x for path, x in leaves if isinstance(x, Learner)}


def _as_vector(tree: PyTree) -> np.ndarray:
    return np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(tree)])


def has_discount(agent: Algorithm) -> bool:
    """Whether an agent's config names a discount, as `gamma`."""
    return "gamma" in {field.name for field in dataclasses.fields(agent.cfg)}


def _learn_from(agent: Algorithm, key: Array, state: Any, trajectory: Trajectory, discount: Array) -> Any:
    agent = _with_discount(agent, discount)
    return _strongly_typed(agent._learn(key, agent._store(state, trajectory), trajectory)[0])


def _with_discount(agent: Algorithm, discount: Array) -> Algorithm:
    """The same agent with another discount, which may be traced; the agent itself where its config has none."""
    if not has_discount(agent):
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
