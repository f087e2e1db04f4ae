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

from memorax.algorithms.q_learning import QLearningState, ReplayConfig, ReplayedQLearning
from memorax.buffers import (
    Priorities,
    PrioritisedEpisodeBuffer,
    PrioritisedSequenceBuffer,
    ReplayBatch,
    ReplayBuffer,
    importance_weights,
    sequence_priority,
)
from memorax.learning.carry_drift import sampled_carry_drift
from memorax.learning.exploration import epsilon_ladder
from memorax.learning.q_learning import q_errors, q_metrics
from memorax.learning.replay import replayed_updates
from memorax.networks import heads
from memorax.types import Array, Key, Metrics, PyTree, Trajectory
from memorax.validation import (
    require_choice,
    require_finite,
    require_fraction,
    require_not_negative,
    require_positive,
    require_sequences,
)


@dataclass(frozen=True)
class R2D2Config(ReplayConfig):
    """Hyperparameters of R2D2.

    Attributes:
        rescale: Learn values on the signed hyperbolic scale.
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
        super().__post_init__()
        require_finite(self, "epsilon_exponent")
        require_positive(self, "period")
        require_fraction(self, "priority_exponent", "priority_eta", "importance_exponent", "epsilon_base")
        require_not_negative(self, "epsilon_exponent")
        require_sequences(self, "period")
        require_choice(self, "carry", "stored", "zeros", "recomputed")


class R2D2State(QLearningState):
    """State of R2D2; the priorities are in the buffer's."""


class R2D2(ReplayedQLearning[R2D2Config, R2D2State]):
    """R2D2 in one process; its buffer may be any replay buffer with priorities.

    `epsilon_schedule` is the probability of a random action in the environment that explores most.
    """

    name = "R2D2"
    network_heads = {"q_network": lambda space: heads.q_head(space, "dueling")}  # noqa: RUF012
    state_class = R2D2State

    @staticmethod
    def _default_buffer(cfg: R2D2Config) -> ReplayBuffer:
        kind = PrioritisedEpisodeBuffer if cfg.carry == "recomputed" else PrioritisedSequenceBuffer
        burn_in = 0 if cfg.carry == "recomputed" else cfg.burn_in
        return kind(cfg.buffer_size, cfg.sequence_length, cfg.batch_size, burn_in, cfg.priority_exponent)

    @staticmethod
    def _default_epsilon_schedule(cfg: R2D2Config) -> optax.Schedule:
        return lambda step: jnp.where(step < cfg.learning_starts, 1.0, cfg.epsilon_base)

    def _epsilons(self, step: Array, batch_size: int) -> Array:
        return epsilon_ladder(batch_size, self.epsilon_schedule(step), self.cfg.epsilon_exponent)

    @property
    def carry_interval(self) -> int:
        return self.cfg.period

    @property
    def uses_recorded_carries(self) -> bool:
        return self.cfg.carry == "stored"

    def _learn(self, key: Key, state: R2D2State, trajectory: Trajectory) -> tuple[R2D2State, Metrics]:
        buffer, step = state.buffer, self.steps_before(state)
        num_windows = self.buffer.num_windows(buffer)

        def update(loop: tuple[R2D2State, Priorities], key: Key) -> tuple[tuple[R2D2State, Priorities], Metrics]:
            state, priorities = loop
            drawn = self.buffer.sample(key, buffer.replace(priorities=priorities))
            weight = importance_weights(drawn.probability, num_windows, self.cfg.importance_exponent)
            state, metrics, priority = self._updated(
                state, lambda params: self._loss(params, state.target_params, drawn, weight), step
            )
            return (state, self.buffer.set_priorities(priorities, drawn.index, priority)), metrics

        update_key, drift_key = jax.random.split(key)
        begun = self._can_learn(state)
        loop = (state.replace(buffer=None), buffer.priorities)
        (state, priorities), metrics = replayed_updates(update_key, loop, begun, self.cfg.num_updates, update)
        if self.has_memory:
            metrics["carry_drift"], metrics["carry_drift_is_known"] = sampled_carry_drift(
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
