"""Proximal policy optimisation (Schulman et al., 2017), recurrent when its torsos are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import optax
from flax import struct

from memorax.algorithms.algorithm import Algorithm, AlgorithmState, MakeNetwork
from memorax.learning.batching import flatten_carries, minibatches, to_sequences
from memorax.learning.bootstrap import values_along
from memorax.environments.environment import Environment
from memorax.networks import heads
from memorax.networks.network import Network, initialize, unroll, unroll_step, unroll_with_losses
from memorax.learning.optimization import gradient_step
from memorax.learning.returns import generalized_advantage_estimate
from memorax.rollout import Policy, Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree, Timestep, Trajectory
from memorax.validation import require_fraction, require_not_negative, require_positive


@dataclass(frozen=True)
class PPOConfig:
    """Hyperparameters of PPO.

    Attributes:
        num_envs: environments stepped side by side.
        num_steps: steps in each environment between two updates.
        gamma: discount.
        gae_lambda: lambda of generalised advantage estimation.
        num_minibatches: minibatches an epoch is dealt into, of whole sequences.
        update_epochs: passes over a rollout.
        normalize_advantage: standardise advantages within a minibatch.
        clip_coef: how far a probability ratio may move before its gradient is cut.
        clip_vloss: limit how far values move in an update, by `clip_coef`. Off by default: returns that are not
            normalised are larger than that, and the critic would lag behind (it hurts in Andrychowicz et al., 2021).
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        target_kl: no further epoch once the mean approximate KL divergence of an epoch exceeds it.
        burn_in: steps at the head of a sequence that only rebuild the carry.
        sequence_length: steps in a training sequence; divides `num_steps`. By default whole rollouts, or single steps
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
    vf_coef: float = 0.5
    target_kl: float | None = None
    burn_in: int = 0
    sequence_length: int | None = None

    def __post_init__(self) -> None:
        require_positive(self, "num_envs", "num_steps", "num_minibatches", "update_epochs", "clip_coef")
        require_fraction(self, "gamma", "gae_lambda")
        require_not_negative(self, "ent_coef", "vf_coef", "burn_in")
        length = self.num_steps if self.sequence_length is None else self.sequence_length
        if length < 1 or self.num_steps % length:
            raise ValueError(f"sequence_length ({length}) must divide num_steps ({self.num_steps})")
        if self.burn_in >= length:
            raise ValueError(f"burn_in ({self.burn_in}) must be less than the {length} steps of a sequence")
        sequences = self.num_envs * (self.num_steps // length)
        if sequences % self.num_minibatches:
            count = "num_envs" if length == self.num_steps else "the number of sequences"
            raise ValueError(
                f"{count} ({sequences}) must be divisible by num_minibatches ({self.num_minibatches}): "
                "a minibatch is a set of whole sequences"
            )


class PPOState(AlgorithmState):
    """State of PPO: parameters and optimiser states of both networks, and the critic's carry `[B, ...]`."""

    actor_params: PyTree
    actor_optimizer_state: optax.OptState
    critic_params: PyTree
    critic_optimizer_state: optax.OptState
    critic_carry: Carry


class Minibatch(struct.PyTreeNode):
    """Sequences to learn from: leaves `[N, L, ...]`, carries `[N, ...]`."""

    timesteps: Timestep
    action: PyTree
    log_prob: Array
    advantage: Array
    value: Array
    target: Array
    actor_carry: Carry
    critic_carry: Carry


class PPO(Algorithm[PPOConfig, PPOState]):
    """PPO with separate actor and critic networks."""

    def __init__(
        self,
        cfg: PPOConfig,
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
        networks = {"actor_network": actor_network, "critic_network": critic_network}
        super().__init__(cfg, env, env_params, networks)
        shortest = cfg.num_steps if self.has_memory or cfg.burn_in else 1
        self._sequence_length = cfg.sequence_length or shortest

    @classmethod
    def build(
        cls,
        cfg: PPOConfig,
        env: Environment,
        env_params: PyTree,
        make_network: MakeNetwork,
        optimizer: optax.GradientTransformation,
    ) -> Self:
        actor = make_network(heads.policy_head(env.action_space(env_params)))
        return cls(cfg, env, env_params, actor, make_network(heads.VNetwork()), optimizer, optimizer)

    def _init(self, key: Key, worker: Worker) -> PPOState:
        actor_key, critic_key = jax.random.split(key)
        actor_params, _ = initialize(self.actor_network, actor_key, worker.timestep)
        critic_params, critic_carry = initialize(self.critic_network, critic_key, worker.timestep)
        return PPOState(
            step=jnp.zeros((), jnp.int32),
            worker=worker,
            actor_params=actor_params,
            actor_optimizer_state=self.actor_optimizer.init(actor_params),
            critic_params=critic_params,
            critic_optimizer_state=self.critic_optimizer.init(critic_params),
            critic_carry=critic_carry,
        )

    def acting_params(self, state: PPOState) -> PyTree:
        return state.actor_params

    def _policy(self, state: PPOState, explore: bool) -> Policy:
        def policy(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, PyTree, PyTree]:
            carry, distribution = unroll_step(self.actor_network, state.actor_params, timestep, carry)
            action = distribution.sample(key) if explore else distribution.mode
            return carry, action[:, 0], {"log_prob": distribution.log_prob(action)[:, 0]}

        return policy

    def _learn(self, key: Key, state: PPOState, trajectory: Trajectory) -> tuple[PPOState, Metrics]:
        def evaluate(timesteps: Timestep, carry: Carry) -> tuple[Carry, Array]:
            return unroll(self.critic_network, state.critic_params, timesteps, carry)

        critic_carry, critic_carries, values, next_values = values_along(
            evaluate, trajectory, state.critic_carry, self._sequence_length
        )
        discounts = self.cfg.gamma * (1.0 - trajectory.terminated)
        advantage = jax.vmap(generalized_advantage_estimate, in_axes=(0, 0, 0, 0, 0, None))(
            trajectory.reward, values, next_values, discounts, trajectory.done, self.cfg.gae_lambda
        )
        target = advantage + values
        batch = Minibatch(
            *to_sequences(
                (
                    trajectory.timesteps,
                    trajectory.action,
                    trajectory.extras["log_prob"],
                    advantage,
                    values,
                    target,
                ),
                self._sequence_length,
            ),
            *flatten_carries((trajectory.carry, critic_carries)),
        )
        state, metrics = self._update(key, state.replace(critic_carry=critic_carry), batch)
        unexplained = jnp.var(target - values) / jnp.maximum(jnp.var(target), 1e-8)
        return state, {**metrics, "explained_variance": 1.0 - unexplained}

    def _update(self, key: Key, state: PPOState, batch: Minibatch) -> tuple[PPOState, Metrics]:
        """Epochs of minibatches, until the target KL divergence is exceeded."""
        keys = jax.random.split(key, self.cfg.update_epochs)
        target_kl = jnp.inf if self.cfg.target_kl is None else self.cfg.target_kl

        def epoch(key: Key, state: PPOState) -> tuple[PPOState, Metrics]:
            dealt = minibatches(key, batch, self.cfg.num_minibatches)
            state, metrics = jax.lax.scan(self._minibatch_update, state, dealt)
            return state, jax.tree.map(jnp.mean, metrics)

        def go_on(loop: tuple[Array, PPOState, Metrics]) -> Array:
            return (loop[0] < self.cfg.update_epochs) & (loop[2]["approx_kl"] <= target_kl)

        def body(loop: tuple[Array, PPOState, Metrics]) -> tuple[Array, PPOState, Metrics]:
            return loop[0] + 1, *epoch(keys[loop[0]], loop[1])

        shapes = jax.eval_shape(epoch, keys[0], state)[1]
        metrics = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        _, state, metrics = jax.lax.while_loop(go_on, body, (jnp.zeros((), jnp.int32), state, metrics))
        return state, metrics

    def _minibatch_update(self, state: PPOState, batch: Minibatch) -> tuple[PPOState, Metrics]:
        actor_params, actor_optimizer_state, actor_metrics = gradient_step(
            lambda params: self._actor_loss(params, batch),
            state.actor_params,
            self.actor_optimizer,
            state.actor_optimizer_state,
        )
        critic_params, critic_optimizer_state, critic_metrics = gradient_step(
            lambda params: self._critic_loss(params, batch),
            state.critic_params,
            self.critic_optimizer,
            state.critic_optimizer_state,
        )
        state = state.replace(
            actor_params=actor_params,
            actor_optimizer_state=actor_optimizer_state,
            critic_params=critic_params,
            critic_optimizer_state=critic_optimizer_state,
        )
        own = {name: actor_metrics.pop(name) for name in ("policy_loss", "entropy", "approx_kl", "clip_fraction")}
        shared = {f"actor_{name}": value for name, value in actor_metrics.items()}
        return state, {**own, **shared, **{f"critic_{name}": value for name, value in critic_metrics.items()}}

    def _actor_loss(self, params: PyTree, batch: Minibatch) -> tuple[Array, Metrics]:
        burn_in, clip = self.cfg.burn_in, self.cfg.clip_coef
        _, distribution, losses = unroll_with_losses(
            self.actor_network, params, batch.timesteps, batch.actor_carry, burn_in
        )
        log_ratio = distribution.log_prob(batch.action[:, burn_in:]) - batch.log_prob[:, burn_in:]
        ratio = jnp.exp(log_ratio)
        advantage = batch.advantage[:, burn_in:]
        if self.cfg.normalize_advantage:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        objective = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
        entropy = distribution.entropy().mean()
        policy_loss = -objective.mean()
        return sum(losses.values(), policy_loss - self.cfg.ent_coef * entropy), {
            **losses,
            "policy_loss": policy_loss,
            "entropy": entropy,
            "approx_kl": (ratio - 1 - log_ratio).mean(),
            "clip_fraction": (jnp.abs(ratio - 1) > clip).mean(),
        }

    def _critic_loss(self, params: PyTree, batch: Minibatch) -> tuple[Array, Metrics]:
        burn_in, clip = self.cfg.burn_in, self.cfg.clip_coef
        _, value, losses = unroll_with_losses(self.critic_network, params, batch.timesteps, batch.critic_carry, burn_in)
        target, old = batch.target[:, burn_in:], batch.value[:, burn_in:]
        loss = jnp.square(value - target)
        if self.cfg.clip_vloss:
            loss = jnp.maximum(loss, jnp.square(old + jnp.clip(value - old, -clip, clip) - target))
        return sum(losses.values(), self.cfg.vf_coef * 0.5 * loss.mean()), losses
