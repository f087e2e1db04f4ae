"""Optimizers that say which gradients they are given, by the same program that learns."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from memorax.algorithms.algorithm import Algorithm
from memorax.learning.optimization import Learner
from memorax.types import Array, PyTree, where


class Recorder(struct.PyTreeNode):
    """The state of an optimizer that may record.

    Attributes:
        records: bool, whether gradients are added up and change nothing else.
        optimizer_state: the state of the optimizer itself.
        count: int32, how many gradients were recorded.
        total: their sum.
    """

    records: Array
    optimizer_state: PyTree
    count: Array
    total: PyTree

    @classmethod
    def create(cls, params: PyTree, optimizer_state: PyTree, records: bool = False) -> Recorder:
        """Start with no gradients."""
        return cls(jnp.array(records), optimizer_state, jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))


def optimizers_of(agent: Algorithm) -> list[Any]:
    """The optimizers that are attributes of an agent, or in lists, tuples and dictionaries that are."""
    return [x for x in jax.tree.leaves(vars(agent), is_leaf=_is_optimizer) if _is_optimizer(x)]


def with_recorders(agent: Algorithm, first_only: bool) -> Algorithm:
    """The same agent, whose optimizers have a `Recorder` as their state.

    Args:
        agent: the agent, which stays as it is.
        first_only: record the first gradient alone. After that of a batch that was drawn from a replay buffer,
            priorities may have changed what is drawn next.
    """
    other = copy.copy(agent)
    for name, value in vars(agent).items():
        if any(map(_is_optimizer, jax.tree.leaves(value, is_leaf=_is_optimizer))):
            recording = jax.tree.map(
                lambda x: _recording(x, first_only) if _is_optimizer(x) else x, value, is_leaf=_is_optimizer
            )
            # Agents cannot be changed, and this one is new.
            object.__setattr__(other, name, recording)
    return other


def with_recorders_in(state: Any) -> Any:
    """A state as an agent that `with_recorders` made takes it, in which nothing is recorded."""
    return _mapped(lambda x: x.replace(optimizer_state=Recorder.create(x.params, x.optimizer_state)), state)


def recording_from(state: Any) -> Any:
    """The same state, from which gradients are recorded and parameters stay as they are."""
    return _mapped(
        lambda x: x.replace(optimizer_state=Recorder.create(x.params, x.optimizer_state.optimizer_state, True)), state
    )


def _recording(optimizer: Any, first_only: bool) -> optax.GradientTransformationExtraArgs:
    inner = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> Recorder:
        return Recorder.create(params, inner.init(params))

    def update(gradients: PyTree, state: Any, params: PyTree = None, **extra: Any) -> tuple[PyTree, Any]:
        # An algorithm may keep the states of its optimizers elsewhere than in learners.
        if not isinstance(state, Recorder):
            return inner.update(gradients, state, params, **extra)
        updates, optimizer_state = inner.update(gradients, state.optimizer_state, params, **extra)
        unchanged = jax.tree.map(jnp.zeros_like, updates), state.optimizer_state
        updates, optimizer_state = where(state.records, unchanged, (updates, optimizer_state))
        counts = state.records & ((state.count == 0) | (not first_only))
        total = where(counts, jax.tree.map(jnp.add, state.total, gradients), state.total)
        return updates, Recorder(state.records, optimizer_state, state.count + state.records, total)

    return optax.GradientTransformationExtraArgs(init, update)


def _mapped(change: Any, state: Any) -> Any:
    return jax.tree.map(
        lambda x: change(x) if isinstance(x, Learner) else x, state, is_leaf=lambda x: isinstance(x, Learner)
    )


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, optax.GradientTransformation | optax.MultiSteps)
