"""V-trace actor-critic (Espeholt et al., 2018, "IMPALA: Scalable Distributed Deep-RL with Importance Weighted
Actor-Learner Architectures"), recurrent when its torsos are.

V-trace corrects for what the policy has become since it acted, so that a rollout may be learned from several times.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from memorax.algorithms.actor_critic import ActorCritic, ActorCriticState
from memorax.learning.batching import flatten_carries, trajectory_sequences
from memorax.learning.bootstrap import carries_along, ends_of_returns, values_along, values_of
from memorax.learning.epochs import check_minibatches, epochs
from memorax.learning.losses import masked_mean
from memorax.learning.returns import VTrace, vtrace
from memorax.networks.network import unroll, unroll_with_losses
from memorax.types import Array, Carry, Key, Metrics, PyTree, Trajectory
from memorax.validation import (
    require_finite,
    require_fraction,
    require_not_negative,
    require_positive,
    require_sequences,
)


@dataclass(frozen=True)
class IMPALAConfig:
    """Hyperparameters of IMPALA.

    Attributes:
        num_envs: Environments stepped side by side.
        num_steps: Steps in each environment between two rollouts' updates.
        gamma: Discount of returns.
        trace_lambda: Discount of the traces of V-trace.
        rho_clip: Largest importance ratio that weights a TD error; it decides what values are learned.
        c_clip: Largest importance ratio that weights a trace; it decides how fast they are.
        num_minibatches: Updates per epoch; each learns from whole sequences.
        update_epochs: Passes over a rollout.
        ent_coef: Weight of the entropy bonus.
        vf_coef: Weight of the value loss.
        sequence_length: Steps in a training sequence; divides `num_steps`. By default whole rollouts.
    """

    num_envs: int = 16
    num_steps: int = 32
    gamma: float = 0.99
    trace_lambda: float = 1.0
    rho_clip: float = 1.0
    c_clip: float = 1.0
    num_minibatches: int = 1
    update_epochs: int = 1
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    sequence_length: int | None = None

    def __post_init__(self) -> None:
        counts = ("num_envs", "num_steps", "num_minibatches", "update_epochs")
        require_finite(self, "rho_clip", "c_clip", "ent_coef", "vf_coef")
        require_positive(self, *counts, "rho_clip", "c_clip")
        require_fraction(self, "gamma", "trace_lambda")
        require_not_negative(self, "ent_coef", "vf_coef")
        require_sequences(self)


class IMPALA(ActorCritic[IMPALAConfig, ActorCriticState]):
    """Actor-critic whose targets are corrected for what the policy has become since it acted, by V-trace."""

    def _check_settings(self) -> None:
        check_minibatches(self.cfg, self._environments.batch_size, self.carry_interval)

    @property
    def carry_interval(self) -> int:
        return self.cfg.sequence_length or self.cfg.num_steps

    def _learn(self, key: Key, state: ActorCriticState, trajectory: Trajectory) -> tuple[ActorCriticState, Metrics]:
        step, length = self.steps_before(state), self.carry_interval
        carry, carries = carries_along(
            self.critic_network, state.critic_params, trajectory.timesteps, state.critic_carry, length
        )
        batch = (trajectory_sequences(trajectory, length), flatten_carries(carries))

        def update(state: ActorCriticState, batch: tuple[Trajectory, Carry]) -> tuple[ActorCriticState, Metrics]:
            targets, ratio = self._targets(state, *batch)
            state, metrics = self._gradient_steps(
                state,
                lambda variables: self._actor_loss(variables, batch[0], targets.advantages),
                lambda variables: self._critic_loss(variables, *batch, targets.targets),
                step,
            )
            ratio_metrics = {"importance_ratio": masked_mean(ratio, batch[0].active)}
            return state, {**metrics, **ratio_metrics}

        epochs_and_minibatches = (self.cfg.update_epochs, self.cfg.num_minibatches)
        return epochs(key, state.replace(critic_carry=carry), batch, *epochs_and_minibatches, update)

    def _targets(self, state: ActorCriticState, trajectory: Trajectory, carry: Carry) -> tuple[VTrace, Array]:
        """V-trace by the present parameters `[N, L]`, exact at time limits, and the importance ratios `[N, L]`."""
        evaluate = values_of(self.critic_network)
        _, _, values, next_values = values_along(evaluate, state.critic_params, trajectory, carry, self.carry_interval)
        actor_carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
        _, distribution = unroll(self.actor_network, state.actor_params, trajectory.timesteps, actor_carry)
        ratio = jnp.exp(distribution.log_prob(trajectory.action) - trajectory.extras["log_prob"])
        steps = (trajectory.reward, values, next_values, *ends_of_returns(trajectory, self.cfg.gamma), ratio)
        limits = (self.cfg.trace_lambda, self.cfg.rho_clip, self.cfg.c_clip)
        return jax.vmap(vtrace, in_axes=(0,) * 6 + (None,) * 3)(*steps, *limits), ratio

    def _actor_loss(
        self, variables: PyTree, trajectory: Trajectory, advantages: Array
    ) -> tuple[Array, tuple[Metrics, None]]:
        carry, active = jax.tree.map(lambda x: x[:, 0], trajectory.carry), trajectory.active
        _, distribution, losses = unroll_with_losses(
            self.actor_network, variables, trajectory.timesteps, carry, prefix="actor_"
        )
        loss = -masked_mean(advantages * distribution.log_prob(trajectory.action), active)
        entropy = masked_mean(distribution.entropy(), active)
        metrics = {**losses, "policy_loss": loss, "entropy": entropy}
        return sum(losses.values(), loss - self.cfg.ent_coef * entropy), (metrics, None)

    def _critic_loss(
        self, variables: PyTree, trajectory: Trajectory, carry: Carry, targets: Array
    ) -> tuple[Array, tuple[Metrics, None]]:
        _, output, losses = unroll_with_losses(
            self.critic_network, variables, trajectory.timesteps, carry, prefix="critic_"
        )
        loss = masked_mean(self.critic_network.head.loss(output, targets), trajectory.active)
        return sum(losses.values(), self.cfg.vf_coef * loss), (losses, None)
