"""Recurrent experience replay (Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed RL"; R2D2).

Sequences of a prioritised replay buffer overlap, start from the carry that was stored with them and rebuild it over a
burn-in; targets sum several rewards and are learned on a scale on which large values lie closer together; every
environment explores with an epsilon of its own. Any torso will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import Algorithm
from memorax.algorithms.q_learning import QLearningState, require_discrete
from memorax.buffers import (
    Priorities,
    PrioritisedEpisodeBuffer,
    PrioritisedSequenceBuffer,
    ReplayBatch,
    ReplayBuffer,
    importance_weights,
    sequence_priority,
)
from memorax.environments.environment import Environment
from memorax.learning.carry_drift import sampled_carry_drift
from memorax.learning.exploration import epsilon_greedy_policy, epsilon_ladder
from memorax.learning.q_learning import q_errors, q_metrics
from memorax.learning.replay import replayed_updates
from memorax.networks import heads
from memorax.networks.network import Network
from memorax.rollout import Policy, Worker
from memorax.types import Array, Key, Metrics, PyTree, Trajectory
from memorax.validation import require_fraction, require_not_negative, require_positive


@dataclass(frozen=True)
class R2D2Config:
    """Hyperparameters of R2D2.

    Attributes:
        num_envs: Environments stepped side by side.
        num_steps: Steps in each environment between two rounds of updates.
        gamma: Discount of returns.
        n_steps: Rewards summed in a target before the value of the successor.
        rescale: Learn values on the signed hyperbolic scale.
        num_updates: Gradient steps in a round.
        learning_starts: Environment steps, over all environments, before the first update.
        target_update_period: Updates between two copies to the target network.
        buffer_size: Environment steps, over all environments, the default buffer holds.
        batch_size: Sequences in a batch of the default buffer.
        sequence_length: Steps learned from in a sequence of the default buffer.
        burn_in: Steps before them that only rebuild the carry, in the default buffer.
        period: Steps between the starts of two neighbouring sequences; divides `num_steps`.
        carry: What a sequence starts from: the carry that was `stored` while acting, `zeros` (the initial carry), or
            one `recomputed` from the start of the episode: sequences then are whole episodes, padded. Those longer than
            `sequence_length` go on in further sequences, from stored carries.
        priority_exponent: How much priorities count when sequences are drawn, from 0 (not at all) to 1.
        priority_eta: Share of the largest TD error of a sequence in its priority; the rest is that of the mean.
        importance_exponent: How much of the bias of prioritised draws is undone by weights, from 0 (none) to 1. The
            paper leaves it at 0.
        epsilon_base: Probability of a random action in the environment that explores most.
        epsilon_exponent: The environment that explores least does so with `epsilon_base` to the power of 1 plus this.
    """

    num_envs: int = 16
    num_steps: int = 20
    gamma: float = 0.997
    n_steps: int = 5
    rescale: bool = True
    num_updates: int = 5
    learning_starts: int = 2_000
    target_update_period: int = 250
    buffer_size: int = 100_000
    batch_size: int = 32
    sequence_length: int = 20
    burn_in: int = 10
    period: int = 10
    carry: Literal["stored", "zeros", "recomputed"] = "stored"
    priority_exponent: float = 0.9
    priority_eta: float = 0.9
    importance_exponent: float = 0.6
    epsilon_base: float = 0.4
    epsilon_exponent: float = 7.0

    def __post_init__(self) -> None:
        require_positive(self, "num_envs", "num_steps", "n_steps", "num_updates", "target_update_period", "period")
        require_fraction(self, "gamma", "priority_exponent", "priority_eta", "importance_exponent", "epsilon_base")
        require_not_negative(self, "learning_starts", "burn_in", "epsilon_exponent")
        if self.num_steps % self.period:
            raise ValueError(f"period ({self.period}) must divide num_steps ({self.num_steps})")
        if self.carry not in ("stored", "zeros", "recomputed"):
            raise ValueError(f"carry ({self.carry!r}) must be 'stored', 'zeros' or 'recomputed'")


class R2D2State(QLearningState):
    """State of R2D2; the priorities are in the buffer's."""


class R2D2(Algorithm[R2D2Config, R2D2State]):
    """R2D2 in one process. `buffer` defaults to the one the config describes; it may be any replay buffer."""

    network_heads = {"q_network": lambda space: heads.q_head(space, "dueling")}  # noqa: RUF012
    optimizers = ("optimizer",)
    donated = ("buffer",)
    replays = True

    def __init__(
        self,
        cfg: R2D2Config,
        env: Environment,
        env_params: PyTree,
        q_network: Network,
        optimizer: optax.GradientTransformation,
        buffer: ReplayBuffer | None = None,
    ) -> None:
        require_discrete("R2D2", env, env_params, instead="PPO or SAC")
        self.q_network = q_network
        self.optimizer = optimizer
        kind = PrioritisedEpisodeBuffer if cfg.carry == "recomputed" else PrioritisedSequenceBuffer
        self.buffer = buffer or kind(
            capacity=cfg.buffer_size,
            sequence_length=cfg.sequence_length,
            batch_size=cfg.batch_size,
            burn_in=0 if cfg.carry == "recomputed" else cfg.burn_in,
            priority_exponent=cfg.priority_exponent,
        )
        super().__init__(cfg, env, env_params, {"q_network": q_network})

    @property
    def carry_interval(self) -> int:
        return self.cfg.period

    def _init(self, key: Key, worker: Worker) -> R2D2State:
        network, cfg = self.q_network, self.cfg
        return R2D2State.create(key, worker, network, self.optimizer, self.buffer, cfg.num_steps, cfg.period)

    def acting_params(self, state: R2D2State) -> PyTree:
        return state.params

    def _policy(self, state: R2D2State, explore: bool) -> Policy:
        def epsilons(batch_size: int) -> Array | float:
            ladder = epsilon_ladder(batch_size, self.cfg.epsilon_base, self.cfg.epsilon_exponent)
            return jnp.where(state.step < self.cfg.learning_starts, 1.0, ladder) if explore else 0.0

        return epsilon_greedy_policy(self.q_network, self.acting_params(state), epsilons)

    def _store(self, state: R2D2State, trajectory: Trajectory) -> R2D2State:
        return state.with_rollout(self.buffer, trajectory)

    def _learn(self, key: Key, state: R2D2State, trajectory: Trajectory) -> tuple[R2D2State, Metrics]:
        buffer, step, period = state.buffer, self.steps_before(state), self.cfg.target_update_period
        num_windows = self.buffer.num_windows(buffer)

        def update(loop: tuple[R2D2State, Priorities], key: Key) -> tuple[tuple[R2D2State, Priorities], Metrics]:
            state, priorities = loop
            drawn = self.buffer.sample(key, buffer.replace(priorities=priorities))
            weight = importance_weights(drawn.probability, num_windows, self.cfg.importance_exponent)
            state, metrics, priority = state.updated(
                lambda params: self._loss(params, state.target_params, drawn, weight), self.optimizer, step, period
            )
            return (state, self.buffer.set_priorities(priorities, drawn.index, priority)), metrics

        update_key, drift_key = jax.random.split(key)
        begun = self.buffer.can_sample(buffer) & (state.step >= self.cfg.learning_starts)
        loop = (state.replace(buffer=None), buffer.priorities)
        (state, priorities), metrics = replayed_updates(update_key, loop, begun, self.cfg.num_updates, update)
        if self.has_memory:
            metrics["carry_drift"] = sampled_carry_drift(
                drift_key, self.q_network, state.params, buffer, self.buffer.burn_in, DRIFT_SEQUENCES
            )
        return state.replace(buffer=buffer.replace(priorities=priorities)), metrics

    def _loss(
        self, params: PyTree, target_params: PyTree, batch: ReplayBatch, weight: Array
    ) -> tuple[Array, tuple[Metrics, tuple[Array, Array]]]:
        """The weighted mean loss; and how many steps have a target, and the priority of each sequence."""
        cfg = self.cfg
        if cfg.carry == "zeros":
            first = jax.tree.map(lambda x: x[:, 0], batch.steps.timesteps)
            batch = batch.replace(carry=self.q_network.initialize_carry(jax.random.key(0), first))
        errors, losses = q_errors(
            *(self.q_network, params, target_params, batch, cfg.gamma, self.buffer.burn_in, cfg.n_steps),
            rescale=cfg.rescale,
        )
        targets = errors.known.sum()
        weighted = weight[:, None] * jnp.where(errors.known, errors.loss, 0.0)
        loss = weighted.sum() / jnp.maximum(targets, 1)
        priority = sequence_priority(jnp.abs(errors.td_error), errors.known, cfg.priority_eta)
        metrics = {**losses, "q_loss": loss, **q_metrics(errors), "priority": priority.mean()}
        return sum(losses.values(), loss), (metrics, (targets, priority))


DRIFT_SEQUENCES = 16
"""Stored carries that are looked at in each round to see how far they have drifted."""
