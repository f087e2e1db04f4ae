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

from memorax.algorithms.actor_critic import ActorCritic, ActorCriticState
from memorax.algorithms.streaming import StreamingConfig
from memorax.learning.traces import (
    TracedLearner,
    check_single_agent,
    obgd,
    successor,
    temporal_difference,
    trace_step,
)
from memorax.networks.network import unroll, unroll_with_losses
from memorax.types import Array, Carry, Key, Metrics, PyTree, Trajectory
from memorax.validation import require_finite, require_not_negative


@dataclass(frozen=True)
class ACLambdaConfig(StreamingConfig):
    """Hyperparameters of AC(lambda).

    Attributes:
        ent_coef: Weight of the entropy bonus.
    """

    ent_coef: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite(self, "ent_coef")
        require_not_negative(self, "ent_coef")


class ACLambdaState(ActorCriticState):
    """State of AC(lambda): both networks with their traces, and the critic's carry `[1, ...]`."""

    actor: TracedLearner  # type: ignore[assignment]
    critic: TracedLearner  # type: ignore[assignment]


class ACLambda(ActorCritic[ACLambdaConfig, ACLambdaState]):
    """Streaming actor-critic with eligibility traces: no replay, no batch, an update at every step."""

    state_class = ACLambdaState
    learner_class = TracedLearner
    default_optimizers = {  # noqa: RUF012
        "actor_optimizer": functools.partial(obgd, kappa=3.0),
        "critic_optimizer": functools.partial(obgd, kappa=2.0),
    }

    def _check_environment(self) -> None:
        check_single_agent("AC(lambda)", self.env)

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
