"""Streaming actor-critic with eligibility traces (Elsayed et al., 2024, "Streaming Deep Reinforcement Learning Finally
Works"; AC(lambda)), recurrent when its torsos are.

It learns from every step as it happens and keeps none. No gradient flows through a carry: a torso under `RTRL` brings
the exact gradient of its recurrence along, any other torso learns from the present step alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import Algorithm, AlgorithmState
from memorax.environments.environment import Environment
from memorax.learning.exploration import stochastic_policy
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
from memorax.types import Array, Carry, Key, Metrics, PyTree, Trajectory
from memorax.validation import require_fraction, require_not_negative, require_one


@dataclass(frozen=True)
class ACLambdaConfig:
    """Hyperparameters of AC(lambda).

    Attributes:
        num_envs: Environments, of which there must be one; agents are trained side by side as several seeds.
        num_steps: Steps between two updates, of which there must be one.
        gamma: Discount of returns.
        trace_lambda: Lambda of both traces: 0 credits the last step alone, 1 all steps of the episode.
        ent_coef: Weight of the entropy bonus.
    """

    num_envs: int = 1
    num_steps: int = 1
    gamma: float = 0.99
    trace_lambda: float = 0.8
    ent_coef: float = 0.01

    def __post_init__(self) -> None:
        require_one(self, "num_envs", "num_steps", why="a streaming algorithm learns from one step of one environment")
        require_fraction(self, "gamma", "trace_lambda")
        require_not_negative(self, "ent_coef")


class ACLambdaState(AlgorithmState):
    """State of AC(lambda): both networks with their traces, and the critic's carry `[1, ...]`."""

    actor: TracedLearner
    critic: TracedLearner
    critic_carry: Carry


class ACLambda(Algorithm[ACLambdaConfig, ACLambdaState]):
    """Streaming actor-critic with eligibility traces: no replay, no batch, an update at every step."""

    network_heads = {"actor_network": heads.policy_head, "critic_network": lambda space: heads.VNetwork()}  # noqa: RUF012
    optimizers = ("actor_optimizer", "critic_optimizer")
    privileged = ("critic_network",)
    default_optimizers = {  # noqa: RUF012
        "actor_optimizer": functools.partial(obgd, kappa=3.0),
        "critic_optimizer": functools.partial(obgd, kappa=2.0),
    }

    def __init__(
        self,
        cfg: ACLambdaConfig,
        env: Environment,
        env_params: PyTree,
        actor_network: Network,
        critic_network: Network,
        actor_optimizer: optax.GradientTransformation,
        critic_optimizer: optax.GradientTransformation,
    ) -> None:
        check_single_agent("AC(lambda)", env)
        self.actor_network = actor_network
        self.critic_network = critic_network
        self.actor_optimizer = actor_optimizer
        self.critic_optimizer = critic_optimizer
        super().__init__(cfg, env, env_params, {"actor_network": actor_network, "critic_network": critic_network})

    def _init(self, key: Key, worker: Worker) -> ACLambdaState:
        actor_key, critic_key = jax.random.split(key)
        actor_params, _ = initialize(self.actor_network, actor_key, worker.timestep)
        critic_params, critic_carry = initialize(self.critic_network, critic_key, worker.timestep)
        return ACLambdaState(
            step=jnp.zeros((), jnp.int32),
            worker=worker,
            actor=TracedLearner.create(actor_params, self.actor_optimizer),
            critic=TracedLearner.create(critic_params, self.critic_optimizer),
            critic_carry=critic_carry,
        )

    def acting_params(self, state: ACLambdaState) -> PyTree:
        return state.actor.variables

    def _policy(self, state: ACLambdaState, explore: bool) -> Policy:
        return stochastic_policy(self.actor_network, self.acting_params(state), explore)

    def _learn(self, key: Key, state: ACLambdaState, trajectory: Trajectory) -> tuple[ACLambdaState, Metrics]:
        # Both values by the parameters before the update.
        head, variables = self.critic_network.head, state.critic.variables
        critic_carry, output = unroll(self.critic_network, variables, trajectory.timesteps, state.critic_carry)
        _, next_output = unroll(self.critic_network, variables, successor(trajectory), critic_carry)
        value, next_value = head.value(output)[0, 0], head.value(next_output)[0, 0]
        td_error = temporal_difference(trajectory, value, next_value, self.cfg.gamma)

        step, done = self.steps_before(state), trajectory.done[0, 0]
        decay, sign = self.cfg.gamma * self.cfg.trace_lambda, jnp.sign(td_error)
        actor_objective = functools.partial(self._actor_objective, trajectory, sign)
        actor, actor_metrics = trace_step(
            actor_objective, state.actor, decay, td_error, done, self.actor_optimizer, "actor_", step=step
        )
        critic_objective = functools.partial(self._critic_objective, trajectory, sign, state.critic_carry)
        critic, critic_metrics = trace_step(
            critic_objective, state.critic, decay, td_error, done, self.critic_optimizer, "critic_", step=step
        )
        metrics = {**actor_metrics, **critic_metrics, "td_error": jnp.abs(td_error), "value": value}
        return state.replace(actor=actor, critic=critic, critic_carry=critic_carry), metrics

    def _actor_objective(self, trajectory: Trajectory, sign: Array, variables: PyTree) -> tuple[Array, Metrics]:
        """Log-probability and entropy. What is to rise by itself has the sign of the TD error it is multiplied by."""
        carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
        _, distribution, losses = unroll_with_losses(
            self.actor_network, variables, trajectory.timesteps, carry, prefix="actor_"
        )
        entropy = distribution.entropy()[0, 0]
        bonus = self.cfg.ent_coef * entropy - sum(losses.values())
        return distribution.log_prob(trajectory.action)[0, 0] + sign * bonus, {**losses, "entropy": entropy}

    def _critic_objective(
        self, trajectory: Trajectory, sign: Array, carry: Carry, variables: PyTree
    ) -> tuple[Array, Metrics]:
        _, output, losses = unroll_with_losses(
            self.critic_network, variables, trajectory.timesteps, carry, prefix="critic_"
        )
        return self.critic_network.head.value(output)[0, 0] - sign * sum(losses.values()), losses
