"""Proximal policy optimisation (Schulman et al., 2017), recurrent when its torsos are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import optax
from flax import struct

from memorax.algorithms.actor_critic import ActorCritic, ActorCriticState
from memorax.learning.batching import flatten_carries, to_sequences
from memorax.learning.bootstrap import advantages_along
from memorax.learning.epochs import check_minibatches, epochs
from memorax.learning.losses import clipped_value_loss, explained_variance, masked_mean, policy_loss
from memorax.networks import heads
from memorax.networks.network import unroll_truncated
from memorax.types import Array, Carry, Key, Metrics, PyTree, Timestep, Trajectory
from memorax.validation import (
    require_finite,
    require_fraction,
    require_not_negative,
    require_positive,
    require_sequences,
)


@dataclass(frozen=True)
class PPOConfig:
    """Hyperparameters of PPO.

    Attributes:
        num_envs: Environments stepped side by side.
        num_steps: Steps in each environment between two updates.
        gamma: Discount of returns.
        gae_lambda: Lambda of generalised advantage estimation.
        num_minibatches: Minibatches per epoch; each holds whole sequences.
        update_epochs: Passes over a rollout.
        normalize_advantage: Standardise advantages within a minibatch.
        clip_coef: How far a probability ratio may move from 1 before its gradient is cut.
        clip_vloss: Limit how far values move in an update, by `clip_coef`. Off by default: returns that are not
            normalised are larger than that, and the critic would lag behind (it hurts in Andrychowicz et al., 2021).
        ent_coef: Weight of the entropy bonus.
        ent_coef_end: Weight of the entropy bonus after `ent_coef_steps`, approached linearly; by default it stays.
        ent_coef_steps: Environment steps, over all environments, until `ent_coef_end` is reached.
        vf_coef: Weight of the value loss.
        target_kl: No further epoch once the mean approximate KL divergence of an epoch exceeds it.
        burn_in: Steps at the head of a sequence that later steps see without a gradient, as a carry alone; they are
            learned from themselves.
        sequence_length: Steps in a training sequence; divides `num_steps`. By default whole rollouts, or single steps
            where no network has a carry.
    """

    num_envs: int = 8
    num_steps: int = 128
    gamma: float = 0.99
    gae_lambda: float = 0.95
    num_minibatches: int = 4
    update_epochs: int = 4
    normalize_advantage: bool = True
    clip_coef: float = 0.2
    clip_vloss: bool = False
    ent_coef: float = 0.01
    ent_coef_end: float | None = None
    ent_coef_steps: int = 1_000_000
    vf_coef: float = 0.5
    target_kl: float | None = None
    burn_in: int = 0
    sequence_length: int | None = None

    def __post_init__(self) -> None:
        require_finite(self, "clip_coef", "ent_coef", "ent_coef_end", "vf_coef", "target_kl")
        require_positive(
            self, "num_envs", "num_steps", "num_minibatches", "update_epochs", "clip_coef", "ent_coef_steps"
        )
        require_fraction(self, "gamma", "gae_lambda")
        require_not_negative(self, "ent_coef", "ent_coef_end", "vf_coef", "target_kl", "burn_in")
        require_sequences(self)
        length = self.sequence_length or self.num_steps
        if self.burn_in >= length:
            raise ValueError(f"burn_in ({self.burn_in}) must be less than the {length} steps of a sequence")


class PPOState(ActorCriticState):
    """State of PPO."""


class Minibatch(struct.PyTreeNode):
    """Sequences to learn from: leaves `[N, L, ...]`, carries `[N, ...]`; `active` is None where every step counts."""

    timesteps: Timestep
    action: PyTree
    log_prob: Array
    advantage: Array
    value: Array
    target: Array
    active: Array | None
    actor_carry: Carry
    critic_carry: Carry


class PPO(ActorCritic[PPOConfig, PPOState]):
    """PPO with separate actor and critic networks.

    Several agents in an environment are rows of one batch. Where `info["active"]` says that an agent has gone out, its
    further steps do not count, and the return of the step with which it went out ends there.
    """

    state_class: ClassVar[type[ActorCriticState]] = PPOState

    def _check_settings(self) -> None:
        cfg, batch_size = self.cfg, self._environments.batch_size
        check_minibatches(cfg, batch_size, self.carry_interval)
        if cfg.normalize_advantage and batch_size * cfg.num_steps == cfg.num_minibatches:
            raise ValueError(
                f"num_minibatches ({cfg.num_minibatches}) leaves a minibatch a single step, whose normalized advantage "
                "is always 0: use more of num_envs or num_steps, fewer minibatches, or normalize_advantage=False"
            )
        head = self.critic_network.head
        representation = getattr(getattr(head, "value_head", head), "representation", None)
        if cfg.clip_vloss and not isinstance(representation, heads.Scalar):
            kind = type(head if representation is None else representation).__name__
            raise ValueError(f"clip_vloss (True) must be left out: {kind} of the critic is no plain value to clip")

    @property
    def carry_interval(self) -> int:
        shortest = self.cfg.num_steps if self.has_memory or self.cfg.burn_in else 1
        return self.cfg.sequence_length or shortest

    def _learn(self, key: Key, state: PPOState, trajectory: Trajectory) -> tuple[PPOState, Metrics]:
        state, batch = self._prepare(state, trajectory)
        step = self.steps_before(state)
        ent_coef = self.ent_coef_schedule(step)
        target_kl = self.cfg.target_kl
        state, metrics = epochs(
            key,
            state,
            batch,
            self.cfg.update_epochs,
            self.cfg.num_minibatches,
            lambda state, minibatch: self._update(state, minibatch, step, ent_coef),
            # A skipped update has no KL divergence: it neither ends the epochs nor keeps them going.
            continue_while=None
            if target_kl is None
            else lambda metrics: ~(jnp.nanmean(metrics["approx_kl"]) > target_kl),
        )
        explained = explained_variance(batch.value, batch.target, batch.active)
        return state, {**metrics, "explained_variance": explained}

    @property
    def ent_coef_schedule(self) -> optax.Schedule:
        """The weight of the entropy bonus, by environment steps."""
        cfg = self.cfg
        return optax.linear_schedule(
            cfg.ent_coef, cfg.ent_coef if cfg.ent_coef_end is None else cfg.ent_coef_end, cfg.ent_coef_steps
        )

    def _prepare(self, state: PPOState, trajectory: Trajectory) -> tuple[PPOState, Minibatch]:
        """Advantages and value targets of a rollout, as one batch of sequences; the critic's carry goes on."""
        critic_carry, critic_carries, values, advantage = advantages_along(
            self.critic_network,
            state.critic_params,
            trajectory,
            state.critic_carry,
            self.carry_interval,
            self.cfg.gamma,
            self.cfg.gae_lambda,
        )
        log_prob, active = trajectory.extras["log_prob"], trajectory.active
        steps = (trajectory.timesteps, trajectory.action, log_prob, advantage, values, advantage + values, active)
        sequences = to_sequences(steps, self.carry_interval)
        batch = Minibatch(*sequences, *flatten_carries((trajectory.carry, critic_carries)))
        return state.replace(critic_carry=critic_carry), batch

    def _update(
        self, state: PPOState, batch: Minibatch, step: Array, ent_coef: Array | float
    ) -> tuple[PPOState, Metrics]:
        return self._gradient_steps(
            state,
            lambda params: self._actor_loss(params, batch, ent_coef),
            lambda params: self._critic_loss(params, batch),
            step,
        )

    def _actor_loss(
        self, params: PyTree, batch: Minibatch, ent_coef: Array | float
    ) -> tuple[Array, tuple[Metrics, None]]:
        distribution, losses = unroll_truncated(
            self.actor_network, params, batch.timesteps, batch.actor_carry, self.cfg.burn_in, "actor_"
        )
        clip, normalize = self.cfg.clip_coef, self.cfg.normalize_advantage
        loss, entropy, metrics = policy_loss(
            distribution, batch.action, batch.log_prob, batch.advantage, batch.active, clip, normalize
        )
        return sum(losses.values(), loss - ent_coef * entropy), ({**losses, **metrics}, None)

    def _critic_loss(self, params: PyTree, batch: Minibatch) -> tuple[Array, tuple[Metrics, None]]:
        output, losses = unroll_truncated(
            self.critic_network, params, batch.timesteps, batch.critic_carry, self.cfg.burn_in, "critic_"
        )
        clip = self.cfg.clip_coef if self.cfg.clip_vloss else None
        loss = clipped_value_loss(self.critic_network.head, output, batch.target, batch.value, clip)
        return sum(losses.values(), self.cfg.vf_coef * masked_mean(loss, batch.active)), (losses, None)
