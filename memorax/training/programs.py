"""What a run compiles: the programs of an agent, for all seeds at once."""

from __future__ import annotations

from collections.abc import Callable

import jax

from memorax.algorithms.algorithm import Agent
from memorax.random_keys import key_for
from memorax.training.devices import Placement
from memorax.training.finite import examine
from memorax.training.summary import Episodes, count_evaluated_episodes, summarize
from memorax.types import Array, Key, Metrics, PyTree

Chunk = Callable[[Key, PyTree], tuple[Key, PyTree, tuple[Episodes, Metrics]]]
"""The program of a chunk: keys and states, whose memory it takes over, to those after it and what is kept of it."""


class Programs:
    """What is compiled for an agent, for all seeds at once."""

    def __init__(self, agent: Agent, placement: Placement) -> None:
        self.agent = agent
        self.placement = placement
        self.init = jax.jit(placement.over_agents(agent.init))
        self.restart = jax.jit(placement.over_agents(agent.restart))
        self.evaluate = jax.jit(self._evaluate, static_argnums=0)
        self.examine = jax.jit(placement.over_agents(lambda state: examine(agent, state)))
        self._traced: dict[int, jax.stages.Traced] = {}
        self._compiled: dict[int, Chunk] = {}

    def chunk(self, iterations: int) -> Chunk:
        """A chunk of one agent."""
        num_steps = iterations * self.agent.steps_per_iteration
        return lambda key, state: self.agent.train(key, state, num_steps=num_steps, keep=summarize)

    def trace(self, iterations: int, key: Key, state: PyTree) -> jax.stages.Traced:
        """The program of a chunk before it is compiled; it takes over the memory of the state."""
        if iterations not in self._traced:
            program = self.placement.updating_agents(self.chunk(iterations))
            with self.placement.context:
                self._traced[iterations] = jax.jit(program, donate_argnums=1).trace(key, state)
        return self._traced[iterations]

    def compile(self, iterations: int, key: Key, state: PyTree, status: Callable[[str], None]) -> Chunk:
        """The program of a chunk."""
        if iterations not in self._compiled:
            status("compiling")
            self._compiled[iterations] = self.trace(iterations, key, state).lower().compile()
        return self._compiled[iterations]

    def _evaluate(self, num_steps: int, seeds: Array, iteration: Array, states: PyTree) -> Episodes:
        """Sums over the episodes of an evaluation, `[seeds]`; the keys of training are left alone."""

        def evaluate(seed: Array, iteration: Array, state: PyTree) -> Episodes:
            key = jax.random.fold_in(key_for(jax.random.key(seed), "evaluation in training"), iteration)
            return count_evaluated_episodes(self.agent.evaluate(key, state, num_steps)[1])

        return self.placement.over_agents(evaluate, 1)(seeds, iteration, states)


def programs_of(agent: Agent, placement: Placement) -> Programs:
    """The programs of an agent, kept with it for its next run, which then starts at once, and gone with it."""
    kept = agent.others_compiled.setdefault("training", {})
    if placement not in kept:
        kept[placement] = Programs(agent, placement)
    return kept[placement]
