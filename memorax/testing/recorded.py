"""The check that what is recorded and kept for learning is learned from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from memorax.learning.optimization import Learner
from memorax.testing import rollout_edits as edits
from memorax.testing.assertions import is_float, require, same
from memorax.testing.bench import Bench, learners
from memorax.types import PyTree


def check_what_is_kept_is_used(bench: Bench) -> None:
    """Copies of parameters, recorded log-probabilities and the states of optimizers change what is learned."""
    for name in copies_of_parameters(bench):
        copied = getattr(bench.ready, name)
        # A single number may be a count that begins as a temperature does.
        if not any(x.ndim for x in jax.tree.leaves(copied)):
            continue
        other = bench.ready.replace(**{name: _moved(copied)})
        require(
            _acts_or_learns_otherwise(bench, other),
            f"copies of parameters are used: other numbers in {name} change neither how it acts nor what is learned",
        )
    _check_log_probabilities(bench)
    _check_optimizers_go_on(bench)


def copies_of_parameters(bench: Bench) -> list[str]:
    """The fields of the state that begin as a copy of a learner's parameters, as a target network does."""
    first = bench.learned(bench.first)
    parameters = [jax.tree.leaves(params) for params in learners(first).values()]
    copies = []
    for field in dataclasses.fields(first):
        leaves = jax.tree.leaves(getattr(first, field.name))
        if leaves and any(len(leaves) == len(x) and same(leaves, x) for x in parameters):
            copies.append(field.name)
    return copies


def _check_log_probabilities(bench: Bench) -> None:
    """Whoever learns several times from a rollout knows from them how far its policy has moved."""
    extras = bench.act(bench.key(0, 0), bench.ready)[1].extras
    recorded = isinstance(extras, Mapping) and "log_prob" in extras
    if recorded and getattr(bench.agent.cfg, "update_epochs", 1) > 1:
        require(
            bench.differ(edits.as_it_was, edits.other_log_probabilities),
            "recorded log-probabilities are learned from: rollouts are learned from in several epochs, and others in "
            "them change nothing",
        )


def _check_optimizers_go_on(bench: Bench) -> None:
    """An optimizer that knows nothing of the updates before learns something else."""
    for name in learners(bench.ready):
        other = jax.tree_util.tree_map_with_path(
            lambda path, ready, first, name=name: (
                _with_optimizer_of(first, ready) if jax.tree_util.keystr(path) == name else ready
            ),
            bench.ready,
            bench.first,
            is_leaf=lambda x: isinstance(x, Learner),
        )
        require(
            same(bench.ready, other) or _acts_or_learns_otherwise(bench, other),
            f"the optimizer's state is learned with: that of the beginning in {name} changes nothing of what "
            "is learned",
        )


def _with_optimizer_of(first: Any, ready: Any) -> Any:
    """A learner with the optimizer's state that another has, where that holds arrays of real numbers."""
    if not any(is_float(x) and x.ndim for x in jax.tree.leaves(first.optimizer_state)):
        return ready
    return ready.replace(optimizer_state=first.optimizer_state)


def _acts_or_learns_otherwise(bench: Bench, other: Any) -> bool:
    """Whether another state than the one that is ready ever leads to other parameters."""
    one = bench.ready
    for i in range(bench.limit):
        pairs = [(learners(x), bench.agent.acting_params(x)) for x in (one, other)]
        if not same(*pairs):
            return True
        one, other = (bench.iterate(x, i, edits.as_it_was) for x in (one, other))
    return not same(learners(one), learners(other))


def _moved(tree: PyTree) -> PyTree:
    """The same tree with noise in its real numbers."""
    noise = np.random.default_rng(0)
    return jax.tree.map(lambda x: np.asarray(x + 0.1 * noise.normal(size=x.shape), x.dtype) if is_float(x) else x, tree)
