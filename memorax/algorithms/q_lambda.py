"""Streaming Q-learning with eligibility traces (Watkins, 1989; Elsayed et al., 2024, "Streaming Deep Reinforcement
Learning Finally Works"; Q(lambda)), recurrent when its torso is.

It learns from every step as it happens and keeps none. No gradient flows through a carry: a torso under `RTRL` brings
the exact gradient of its recurrence along, any other torso learns from the present step alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import Algorithm, AlgorithmState
from memorax.algorithms.q_learning import require_discrete
from memorax.environments.environment import Environment
from memorax.learning.exploration import epsilon_greedy_policy
from memorax.learning.traces import (
    TracedLearner,
    check_single_agent,
    obgd,
    successor,
    temporal_difference,
    trace_step,
)
from memorax.networks import heads
from memorax.networks.network import Network, initialize, unroll, unroll_with_losses
from memorax.rollout import Policy, Worker
from memorax.types import Key, Metrics, PyTree, Trajectory
from memorax.validation import require_fraction, require_one, require_positive


@dataclass(frozen=True)
class QLambdaConfig:
    """Hyperparameters of Q(lambda).

    Attributes:
        num_envs: Environments, of which there must be one; agents are trained side by side as several seeds.
        num_steps: Steps between two updates, of which there must be one.
        gamma: Discount of returns.
        trace_lambda: Lambda of the trace: 0 credits the last step alone, 1 all steps since the last exploratory one.
        epsilon_start: First probability of a random action.
        epsilon_end: Last probability of a random action.
        exploration_steps: Environment steps over which it goes from one to the other.
    """

    num_envs: int = 1
    num_steps: int = 1
    gamma: float = 0.99
    trace_lambda: float = 0.8
    epsilon_start: float = 1.0
    epsilon_end: float = 0.01
    exploration_steps: int = 100_000

    def __post_init__(self) -> None:
        require_one(self, "num_envs", "num_steps", why="a streaming algorithm learns from one step of one environment")
        require_fraction(self, "gamma", "trace_lambda", "epsilon_start", "epsilon_end")
        require_positive(self, "exploration_steps")


class QLambdaState(AlgorithmState):
    """State of Q(lambda): the network with its trace."""

    q: TracedLearner


class QLambda(Algorithm[QLambdaConfig, QLambdaState]):
    """Streaming Q-learning with eligibility traces: no replay, no batch, an update at every step."""

    network_heads = {"q_network": heads.q_head}  # noqa: RUF012
    optimizers = ("optimizer",)
    default_optimizers = {"optimizer": obgd}  # noqa: RUF012

    def __init__(
        self,
        cfg: QLambdaConfig,
        env: Environment,
        env_params: PyTree,
        q_network: Network,
        optimizer: optax.GradientTransformation,
    ) -> None:
        require_discrete("Q(lambda)", env, env_params, instead="AC(lambda)")
        check_single_agent("Q(lambda)", env)
        self.q_network = q_network
        self.optimizer = optimizer
        self.epsilon_schedule = optax.linear_schedule(cfg.epsilon_start, cfg.epsilon_end, cfg.exploration_steps)
        super().__init__(cfg, env, env_params, {"q_network": q_network})

    def _init(self, key: Key, worker: Worker) -> QLambdaState:
        variables, _ = initialize(self.q_network, key, worker.timestep)
        return QLambdaState(jnp.zeros((), jnp.int32), worker, TracedLearner.create(variables, self.optimizer))

    def acting_params(self, state: QLambdaState) -> PyTree:
        return state.q.variables

    def _policy(self, state: QLambdaState, explore: bool) -> Policy:
        epsilon = self.epsilon_schedule(state.step) if explore else 0.0
        return epsilon_greedy_policy(self.q_network, self.acting_params(state), lambda batch_size: epsilon)

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
