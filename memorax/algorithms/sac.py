"""Soft actor-critic (Haarnoja et al., 2018, "Soft Actor-Critic Algorithms and Applications") from replayed sequences.

It learns from `Discrete` and `Box` actions alike (Christodoulou, 2019). With recurrent torsos it is that of Ni et al.
(2022, "Recurrent Model-Free RL Can Be a Strong Baseline for Many POMDPs"): actor and critic each have a memory of their
own, both halves of the critic share theirs, and an action enters the critic behind its memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import Algorithm, ReplayState
from memorax.buffers import EpisodeBuffer, ReplayBatch, ReplayBuffer, SequenceBuffer
from memorax.environments.environment import Environment
from memorax.learning.bootstrap import carries_along
from memorax.learning.exploration import stochastic_policy
from memorax.learning.losses import masked_mean
from memorax.learning.optimization import Learner, joint_gradient_step, target_update
from memorax.learning.replay import ReplayedSteps, initial_carries, replayed_updates, transitions_after
from memorax.learning.soft_values import soft_critic, soft_targets
from memorax.networks import heads
from memorax.networks.network import Network, apply_head, encode_with_losses, initialize
from memorax.rollout import Policy, Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree, Trajectory
from memorax.validation import (
    require_at_most,
    require_choice,
    require_finite,
    require_fraction,
    require_not_negative,
    require_positive,
)


@dataclass(frozen=True)
class SACConfig:
    """Hyperparameters of SAC.

    Attributes:
        num_envs: Environments stepped side by side.
        num_steps: Steps in each environment between two rounds of updates.
        gamma: Discount of returns.
        num_updates: Gradient steps in a round.
        learning_starts: Environment steps, over all environments, before the first update; the policy acts in them.
        tau: How far the target critic moves towards the critic after each update.
        temperature: Weight of the entropy, before training where it is learned.
        learn_temperature: Adapt the temperature to the entropy aimed for; fixed is better where rewards come late.
        target_entropy_ratio: Entropy aimed for: of discrete actions the fraction of the logarithm of the number of
            legal ones, by default 0.5; of each number of a continuous action, in units of half its range, minus this,
            by default 1.
        buffer_size: Environment steps, over all environments, the default buffer holds.
        batch_size: Sequences in a batch of the default buffer.
        sequence_length: Steps learned from in a sequence of the default buffer.
        burn_in: Steps before them that only rebuild the carries, in the default buffer.
        carry: What a sequence starts from: the carries that were `stored` while acting (the target critic starts from
            the critic's), `zeros` (the initial carries), or those `recomputed` from the start of the episode: sequences
            then are whole episodes, padded. Those longer than `sequence_length` go on from stored carries.
    """

    num_envs: int = 8
    num_steps: int = 8
    gamma: float = 0.99
    num_updates: int = 16
    learning_starts: int = 1_000
    tau: float = 0.005
    temperature: float = 1.0
    learn_temperature: bool = True
    target_entropy_ratio: float | None = None
    buffer_size: int = 100_000
    batch_size: int = 32
    sequence_length: int = 16
    burn_in: int = 0
    carry: Literal["stored", "zeros", "recomputed"] = "stored"

    def __post_init__(self) -> None:
        counts = ("num_envs", "num_steps", "num_updates", "buffer_size", "batch_size", "sequence_length")
        require_finite(self, "temperature", "target_entropy_ratio")
        require_positive(self, *counts, "tau", "temperature")
        require_at_most(self, "batch_size", "buffer_size")
        require_fraction(self, "gamma", "tau")
        require_not_negative(self, "learning_starts", "burn_in")
        require_choice(self, "carry", "stored", "zeros", "recomputed")


class SACState(ReplayState):
    """State of SAC: what is learned, the target critic's variables, and the critic's carry `[B, ...]`."""

    actor: Learner
    critic: Learner
    temperature: Learner
    target_params: PyTree
    critic_carry: Carry


class SAC(Algorithm[SACConfig, SACState]):
    """SAC with separate actor and critic networks. `buffer` defaults to the one the config describes.

    The critic's head is a `heads.Twin`, so that the lower of two values is believed.
    """

    network_heads = {"actor_network": heads.bounded_policy_head, "critic_network": heads.twin_q_head}  # noqa: RUF012
    optimizers = ("actor_optimizer", "critic_optimizer", "temperature_optimizer")
    privileged = ("critic_network",)
    donated = ("buffer",)
    replays = True

    def __init__(
        self,
        cfg: SACConfig,
        env: Environment,
        env_params: PyTree,
        actor_network: Network,
        critic_network: Network,
        actor_optimizer: optax.GradientTransformation,
        critic_optimizer: optax.GradientTransformation,
        temperature_optimizer: optax.GradientTransformation,
        buffer: ReplayBuffer | None = None,
    ) -> None:
        self.actor_network = actor_network
        self.critic_network = critic_network
        temperature = temperature_optimizer if cfg.learn_temperature else optax.set_to_zero()
        self.optimizer_of = {"actor": actor_optimizer, "critic": critic_optimizer, "temperature": temperature}
        kind, burn_in = (EpisodeBuffer, 0) if cfg.carry == "recomputed" else (SequenceBuffer, cfg.burn_in)
        self.buffer = buffer or kind(cfg.buffer_size, cfg.sequence_length, cfg.batch_size, burn_in)
        self.temperature = heads.Temperature(cfg.temperature)
        self.soft_critic = soft_critic(critic_network)
        default_ratio = self.soft_critic.target_entropy_ratio
        self.target_entropy_ratio = default_ratio if cfg.target_entropy_ratio is None else cfg.target_entropy_ratio
        super().__init__(cfg, env, env_params, {"actor_network": actor_network, "critic_network": critic_network})

    def _init(self, key: Key, worker: Worker) -> SACState:
        actor_key, critic_key, temperature_key = jax.random.split(key, 3)
        actor, actor_carry = initialize(self.actor_network, actor_key, worker.timestep)
        critic, critic_carry = initialize(self.critic_network, critic_key, worker.timestep)
        variables = {"actor": actor, "critic": critic, "temperature": self.temperature.init(temperature_key)}
        stored = (ReplayedSteps.like(worker.timestep), self._kept((actor_carry, critic_carry)))
        return SACState(
            step=jnp.zeros((), jnp.int32),
            worker=worker,
            buffer=self.buffer.init(*stored, self.cfg.num_steps),
            updates=jnp.zeros((), jnp.int32),
            targets=jnp.zeros((), jnp.float32),
            target_params=critic,
            critic_carry=critic_carry,
            **{name: Learner.create(variables[name], self.optimizer_of[name]) for name in variables},
        )

    def acting_params(self, state: SACState) -> PyTree:
        return state.actor.variables

    def _policy(self, state: SACState, explore: bool) -> Policy:
        return stochastic_policy(self.actor_network, state.actor.variables, explore)

    def _store(self, state: SACState, trajectory: Trajectory) -> SACState:
        """Add a rollout to the buffer, with the carries of the present actor and critic."""
        network, params, interval = self.critic_network, state.critic.variables, self.carry_interval
        critic_carry, critics = carries_along(network, params, trajectory.timesteps, state.critic_carry, interval)
        buffer = self.buffer.add(state.buffer, ReplayedSteps.of(trajectory), self._kept((trajectory.carry, critics)))
        return state.replace(buffer=buffer, critic_carry=critic_carry)

    @property
    def uses_recorded_carries(self) -> bool:
        return self.cfg.carry == "stored"

    def acting_carries(self, stored: PyTree) -> Carry:
        return stored[0] if stored else ()

    def _kept(self, carries: tuple[Carry, Carry]) -> PyTree:
        """What of the carries the buffer keeps."""
        return () if self.cfg.carry == "zeros" else carries

    def _carries(self, batch: ReplayBatch) -> tuple[Carry, Carry]:
        """The carries of actor and critic before the first step of each sequence."""
        networks = (self.actor_network, self.critic_network)
        return initial_carries(networks, batch.steps.timesteps) if self.cfg.carry == "zeros" else batch.carry

    def _learn(self, key: Key, state: SACState, trajectory: Trajectory) -> tuple[SACState, Metrics]:
        buffer, step = state.buffer, self.steps_before(state)

        def update(state: SACState, key: Key) -> tuple[SACState, Metrics]:
            sample_key, loss_key = jax.random.split(key)
            batch = self.buffer.sample(sample_key, buffer)
            learners, metrics, targets = joint_gradient_step(
                lambda variables: self._losses(loss_key, variables, state.target_params, batch),
                {name: getattr(state, name) for name in self.optimizer_of},
                self.optimizer_of,
                step=step,
            )
            critic, updates = learners["critic"].variables, state.updates + 1
            target_params = target_update(critic, state.target_params, updates, tau=self.cfg.tau)
            counts = {"updates": updates, "targets": state.targets + targets}
            return state.replace(**learners, target_params=target_params, **counts), metrics

        ready = self.buffer.can_sample(buffer) & (state.step >= self.cfg.learning_starts)
        state, metrics = replayed_updates(key, state.replace(buffer=None), ready, self.cfg.num_updates, update)
        return state.replace(buffer=buffer), metrics

    def _losses(
        self, key: Key, variables: dict[str, PyTree], target_params: PyTree, batch: ReplayBatch
    ) -> tuple[dict[str, Array], tuple[Metrics, Array]]:
        """The losses of actor, critic and temperature, each a function of its own parameters alone.

        Every torso runs once over the `L + 1` timesteps. Returns losses by learner, metrics and the number of targets.
        """
        burn_in, timesteps, soft_critic = self.buffer.burn_in, batch.steps.timesteps, self.soft_critic
        (actor_carry, critic_carry), steps = self._carries(batch), transitions_after(batch, burn_in)  # (N, L, ...)
        actor, critic = variables["actor"], variables["critic"]

        def encode(network: Network, params: PyTree, carry: Carry, prefix: str = "") -> tuple[Array, Metrics]:
            return encode_with_losses(network, params, timesteps, carry, burn_in, prefix)[1:]

        actor_features, actor_losses = encode(self.actor_network, actor, actor_carry, "actor_")  # (N, L + 1, D)
        features, critic_losses = encode(self.critic_network, critic, critic_carry, "critic_")
        target_features, _ = encode(self.critic_network, target_params, critic_carry)
        policy = apply_head(self.actor_network, actor, actor_features[:, :-1], steps.observation)
        next_policy = apply_head(self.actor_network, actor, actor_features[:, 1:], steps.next_observation)
        log_alpha = jnp.asarray(self.temperature.apply(variables["temperature"]))
        temperature, (key, next_key) = self.temperature.value(log_alpha), jax.random.split(key)

        # The critic learns what the action taken paid, and the soft value of what it led to.
        successor = soft_critic.soft_value(
            next_key, target_params, target_features[:, 1:], steps.next_observation, next_policy
        )
        discount = jnp.where(steps.known & ~steps.terminated, self.cfg.gamma, 0.0)
        target = soft_targets(steps.reward, discount, successor, temperature)
        taken = soft_critic.taken(critic, features[:, :-1], steps.observation, steps.action)
        critic_loss = masked_mean(self.critic_network.head.loss(taken, target), steps.known)

        # The actor climbs the soft value of its actions; the critic is a constant to it.
        critic, features = jax.lax.stop_gradient((critic, features))
        soft_value = soft_critic.soft_value(key, critic, features[:, :-1], steps.observation, policy)
        actor_loss = -masked_mean(soft_value.total(temperature), steps.valid)

        # The temperature rises where the policy is more certain than it should be.
        target_entropy = policy.target_entropy(self.target_entropy_ratio)
        temperature_loss = self.temperature.loss(log_alpha, soft_value.entropy, target_entropy)

        value = self.critic_network.head.value(taken)
        losses = {
            "actor": sum(actor_losses.values(), actor_loss),
            "critic": sum(critic_losses.values(), critic_loss),
            "temperature": masked_mean(temperature_loss, steps.valid),
        }
        metrics = {
            **actor_losses,
            **critic_losses,
            "q_value": masked_mean(value, steps.valid),
            "td_error": masked_mean(jnp.abs(target - value), steps.known),
            "known_targets": steps.known.mean(),
            "entropy": masked_mean(soft_value.entropy, steps.valid),
            "temperature": temperature,
        }
        return losses, (metrics, steps.known.sum().astype(jnp.float32))
