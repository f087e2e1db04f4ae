"""Streaming Q-learning with eligibility traces (Watkins, 1989; Elsayed et al., 2024, "Streaming Deep Reinforcement
Learning Finally Works"; Q(lambda)), recurrent when its torso is.

It learns from every step as it happens and keeps none. No gradient flows through a carry: a torso under `RTRL` brings
the exact gradient of its recurrence along, any other torso learns from the present step alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from memorax.algorithms.algorithm import AlgorithmState
from memorax.algorithms.q_learning import QLearning
from memorax.algorithms.streaming import StreamingConfig
from memorax.learning.traces import (
    TracedLearner,
    check_single_agent,
    obgd,
    successor,
    temporal_difference,
    trace_step,
)
from memorax.networks.network import initialize, unroll, unroll_with_losses
from memorax.rollout import Worker
from memorax.types import Key, Metrics, PyTree, Trajectory
from memorax.validation import require_fraction, require_positive


@dataclass(frozen=True)
class QLambdaConfig(StreamingConfig):
    """Hyperparameters of Q(lambda).

    Attributes:
        epsilon_start: First probability of a random action.
        epsilon_end: Last probability of a random action.
        exploration_steps: Environment steps over which it goes from one to the other.
    """

    epsilon_start: float = 1.0
    epsilon_end: float = 0.01
    exploration_steps: int = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction(self, "epsilon_start", "epsilon_end")
        require_positive(self, "exploration_steps")


class QLambdaState(AlgorithmState):
    """State of Q(lambda): the network with its trace."""

    q: TracedLearner


class QLambda(QLearning[QLambdaConfig, QLambdaState]):
    """Streaming Q-learning with eligibility traces: no replay, no batch, an update at every step."""

    name, alternative = "Q(lambda)", "AC(lambda)"
    default_optimizers = {"optimizer": obgd}  # noqa: RUF012

    def _check_environment(self) -> None:
        super()._check_environment()
        check_single_agent(self.name, self.env)

    def _init(self, key: Key, worker: Worker) -> QLambdaState:
        variables, _ = initialize(self.q_network, key, worker.timestep)
        return QLambdaState(jnp.zeros((), jnp.int32), worker, TracedLearner.create(variables, self.optimizer))

    def acting_params(self, state: QLambdaState) -> PyTree:
        return state.q.variables

    def _learn(self, key: Key, state: QLambdaState, trajectory: Trajectory) -> tuple[QLambdaState, Metrics]:
        head, action = self.q_network.head, trajectory.action
        carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
        # Both values by the parameters before the update; the worker's carry is the one after the step.
        _, output = unroll(self.q_network, state.q.variables, trajectory.timesteps, carry)
        _, next_output = unroll(self.q_network, state.q.variables, successor(trajectory), state.worker.carry)
        value = head.value(head.select(output, action))[0, 0]
        td_error = temporal_difference(trajectory, value, head.value(next_output)[0, 0].max(), self.cfg.gamma)
        # An exploratory action cuts the trace of what lay before it, and is credited itself.
        greedy = action[0, 0] == jnp.argmax(head.value(output)[0, 0])
        decay = jnp.where(greedy, self.cfg.gamma * self.cfg.trace_lambda, 0.0)

        def objective(variables: PyTree) -> tuple[jax.Array, Metrics]:
            _, output, losses = unroll_with_losses(self.q_network, variables, trajectory.timesteps, carry)
            # What is to fall by itself has the opposite sign of the TD error it is multiplied by.
            return head.value(head.select(output, action))[0, 0] - jnp.sign(td_error) * sum(losses.values()), losses

        step, done = self.steps_before(state), trajectory.done[0, 0]
        q, metrics = trace_step(objective, state.q, decay, td_error, done, self.optimizer, step=step)
        return state.replace(q=q), {**metrics, "td_error": jnp.abs(td_error), "q_value": value, "greedy": 1.0 * greedy}
