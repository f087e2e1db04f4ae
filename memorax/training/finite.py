"""Finds losses and parameters that are not finite, by which the training loop stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.algorithms.algorithm import Algorithm
from memorax.learning.optimization import Learner
from memorax.training.checkpoints import named_leaves
from memorax.training.summary import UPDATES
from memorax.types import Array, Metrics, PyTree

LOSS = "loss"
"""How the names of metrics end that must be finite."""

ON_NAN = ("stop", "continue")
"""What the training loop may do then."""

PARAMETERS = "parameters of"


class NotFinite(ValueError):
    """Raised by the training loop where a loss or a parameter is NaN or infinite.

    Attributes:
        step: environment steps taken in each seed when it was.
        seed: random seed of the first agent it happened to.
        quantity: name of the first quantity, such as "critic_loss".
    """

    def __init__(self, message: str, step: int, seed: int, quantity: str) -> None:
        super().__init__(message)
        self.step = step
        self.seed = seed
        self.quantity = quantity


@dataclass(frozen=True)
class Finding:
    """The first iteration of a chunk in which something of one seed was not finite.

    Attributes:
        index: index of the seed.
        iteration: iteration of the chunk, from 0.
        quantities: what was not finite, losses first, with its value: `{"critic_loss": nan}`.
    """

    index: int
    iteration: int
    quantities: Mapping[str, float]


@struct.dataclass
class Learned:
    """What is seen of an agent's parameters.

    Attributes:
        finite: whether all parameters of a network are, bool, by its name in the state.
        policy: a number that changes when a parameter of the network that acts does, uint32.
    """

    finite: dict[str, Array]
    policy: Array


def examine(agent: Algorithm[Any, Any], state: PyTree) -> Learned:
    """Look at the parameters of every network that learns."""
    leaves = _numbers(agent.acting_params(state))
    prints = [_bits(part).sum(dtype=jnp.uint32) for leaf in leaves for part in (leaf.real, leaf.imag)]
    finite = {
        name: jnp.stack([jnp.isfinite(leaf).all() for leaf in _numbers(params)]).all()
        for name, params in learned_parameters(agent, state).items()
    }
    return Learned(finite, sum(prints, jnp.zeros((), jnp.uint32)))


def learned_parameters(agent: Algorithm[Any, Any], state: PyTree) -> dict[str, PyTree]:
    """The parameters of every network that learns, by its name in the state."""

    def is_learner(node: Any) -> bool:
        return isinstance(node, Learner)

    learners = {name: node.params for name, node in named_leaves(state, is_learner) if is_learner(node)}
    found = learners or {"policy": agent.acting_params(state)}
    return {name: params for name, params in found.items() if _numbers(params)}


def _numbers(params: PyTree) -> list[Array]:
    return [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.inexact) and leaf.size]


def _bits(values: Array) -> Array:
    return jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)


def find_not_finite(metrics: Metrics, learned: Learned) -> list[Finding]:
    """The seeds in which a loss was not finite in a chunk, or a parameter is not at its end.

    A metric that is NaN where no update was made says that there is nothing yet, and is none of them.

    Args:
        metrics: NumPy arrays `[seeds, iterations]`.
        learned: `examine` of all seeds after the chunk, leaves `[seeds]`.
    """
    iterations = next(iter(metrics.values())).shape[1] if metrics else 1
    seeds = len(learned.policy)
    updated = np.asarray(metrics[UPDATES]) > 0 if UPDATES in metrics else np.ones((seeds, iterations), bool)
    names = sorted((name for name in metrics if name != UPDATES), key=lambda name: (not name.endswith(LOSS), name))
    bad = {name: ~np.isfinite(metrics[name]) & (updated | ~np.isnan(metrics[name])) for name in names}
    findings = []
    for index in range(seeds):
        losses = [bad[name][index] for name in names if name.endswith(LOSS)]
        lost = np.flatnonzero(np.any(losses, axis=0)) if losses else np.zeros(0, int)
        if lost.size:
            iteration = int(lost[0])
            values = {n: float(metrics[n][index, iteration]) for n in names if bad[n][index, iteration]}
            findings.append(Finding(index, iteration, values))
        elif broken := [name for name, finite in learned.finite.items() if not finite[index]]:
            findings.append(Finding(index, iterations - 1, {f"{PARAMETERS} {name}": np.nan for name in broken}))
    return findings


def describe(findings: Sequence[Finding], seeds: Sequence[int], steps: Sequence[int]) -> str:
    """A line that names the first of the quantities, and which others went with it.

    Args:
        findings: at least one.
        seeds: the random seed of each index.
        steps: the step after each iteration of the chunk.
    """
    first = min(findings, key=lambda finding: finding.iteration)
    (name, value), *others = first.quantities.items()
    told = f"seed {seeds[first.index]} at step {steps[first.iteration]:,}: {name} is {_word(name, value)}"
    if others:
        told += f", and with it {', '.join(other for other, _ in others)}"
    if len(findings) > 1:
        told += f"; so it is in {len(findings)} of {len(seeds)} seeds"
    return told


def _word(name: str, value: float) -> str:
    return "not finite" if name.startswith(PARAMETERS) else str(value)
