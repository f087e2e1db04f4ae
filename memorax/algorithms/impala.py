"""V-trace actor-critic (Espeholt et al., 2018, "IMPALA: Scalable Distributed Deep-RL with Importance Weighted
Actor-Learner Architectures"), recurrent when its torsos are.

V-trace corrects for what the policy has become since it acted, so that a rollout may be learned from several times.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import Algorithm
from memorax.algorithms.ppo import PPOState
from memorax.environments.environment import Environment
from memorax.learning.batching import flatten_carries, trajectory_sequences
from memorax.learning.bootstrap import carries_along, ends_of_returns, values_along, values_of
from memorax.learning.epochs import check_minibatches, epochs
from memorax.learning.exploration import stochastic_policy
from memorax.learning.losses import masked_mean
from memorax.learning.optimization import Learner, gradient_step
from memorax.learning.returns import VTrace, vtrace
from memorax.networks import heads
from memorax.networks.network import Network, initialize, unroll, unroll_with_losses
from memorax.rollout import Policy, Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree, Trajectory
from memorax.validation import require_fraction, require_not_negative, require_positive


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
        require_positive(self, *counts, "rho_clip", "c_clip")
        require_fraction(self, "gamma", "trace_lambda")
        require_not_negative(self, "ent_coef", "vf_coef")
        length = self.num_steps if self.sequence_length is None else self.sequence_length
        if length < 1 or self.num_steps % length:
            raise ValueError(f"sequence_length ({length}) must divide num_steps ({self.num_steps})")


class IMPALA(Algorithm[IMPALAConfig, PPOState]):
    """Actor-critic whose targets are corrected for what the policy has become since it acted, by V-trace."""

    network_heads = {"actor_network": heads.policy_head, "critic_network": lambda space: heads.VNetwork()}  # noqa: RUF012
    optimizers = ("actor_optimizer", "critic_optimizer")
    privileged = ("critic_network",)

    def __init__(
        self,
        cfg: IMPALAConfig,
        env: Environment,
        env_params: PyTree,
        actor_network: Network,
        critic_network: Network,
        actor_optimizer: optax.GradientTransformation,
        critic_optimizer: optax.GradientTransformation,
    ) -> None:
        self.actor_network = actor_network
        self.critic_network = critic_network
        self.actor_optimizer = actor_optimizer
        self.critic_optimizer = critic_optimizer
        super().__init__(cfg, env, env_params, {"actor_network": actor_network, "critic_network": critic_network})
        sequences = self._environments.batch_size * cfg.num_steps // self.carry_interval
        check_minibatches(sequences, cfg.num_minibatches, self.carry_interval, "the number of sequences in a rollout")

    @property
    def carry_interval(self) -> int:
        return self.cfg.sequence_length or self.cfg.num_steps

    def _init(self, key: Key, worker: Worker) -> PPOState:
        actor_key, critic_key = jax.random.split(key)
        actor_variables, _ = initialize(self.actor_network, actor_key, worker.timestep)
        critic_variables, carry = initialize(self.critic_network, critic_key, worker.timestep)
        actor = Learner.create(actor_variables, self.actor_optimizer)
        critic = Learner.create(critic_variables, self.critic_optimizer)
        return PPOState(jnp.zeros((), jnp.int32), worker, actor, critic, carry)

    def acting_params(self, state: PPOState) -> PyTree:
        return state.actor_params

    def _policy(self, state: PPOState, explore: bool) -> Policy:
        return stochastic_policy(self.actor_network, state.actor_params, explore)

    def _learn(self, key: Key, state: PPOState, trajectory: Trajectory) -> tuple[PPOState, Metrics]:
        step, length = self.steps_before(state), self.carry_interval
        carry, carries = carries_along(
            self.critic_network, state.critic_params, trajectory.timesteps, state.critic_carry, length
        )
        batch = (trajectory_sequences(trajectory, length), flatten_carries(carries))

        def update(state: PPOState, batch: tuple[Trajectory, Carry]) -> tuple[PPOState, Metrics]:
            targets, ratio = self._targets(state, *batch)
            actor, actor_metrics, _ = gradient_step(
                lambda variables: self._actor_loss(variables, batch[0], targets.advantages),
                state.actor,
                self.actor_optimizer,
                "actor_",
                step=step,
            )
            critic, critic_metrics, _ = gradient_step(
                lambda variables: self._critic_loss(variables, *batch, targets.targets),
                state.critic,
                self.critic_optimizer,
                "critic_",
                step=step,
            )
            ratio_metrics = {"importance_ratio": masked_mean(ratio, batch[0].info.get("active"))}
            return state.replace(actor=actor, critic=critic), {**actor_metrics, **critic_metrics, **ratio_metrics}

        epochs_and_minibatches = (self.cfg.update_epochs, self.cfg.num_minibatches)
        return epochs(key, state.replace(critic_carry=carry), batch, *epochs_and_minibatches, update)

    def _targets(self, state: PPOState, trajectory: Trajectory, carry: Carry) -> tuple[VTrace, Array]:
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
        carry, active = jax.tree.map(lambda x: x[:, 0], trajectory.carry), trajectory.info.get("active")
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
        loss = masked_mean(self.critic_network.head.loss(output, targets), trajectory.info.get("active"))
        return sum(losses.values(), self.cfg.vf_coef * loss), (losses, None)
