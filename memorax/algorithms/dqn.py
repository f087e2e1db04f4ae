"""Deep Q-learning (Mnih et al., 2015) with double Q-learning (van Hasselt et al., 2016), from replayed sequences.

Sequences start from the carry that was stored with them and rebuild it over a burn-in (Kapturowski et al., 2019): with
a recurrent torso it is DRQN (Hausknecht & Stone, 2015). Dueling, categorical, quantile and histogram values are choices
of the network's head.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from memorax.algorithms.q_learning import QLearningState, ReplayConfig, ReplayedQLearning
from memorax.buffers import ReplayBatch, SequenceBuffer
from memorax.learning.losses import masked_mean
from memorax.learning.q_learning import q_errors, q_metrics
from memorax.learning.replay import replayed_updates
from memorax.types import Array, Key, Metrics, PyTree, Trajectory
from memorax.validation import require_fraction, require_positive


@dataclass(frozen=True)
class DQNConfig(ReplayConfig):
    """Hyperparameters of DQN.

    Attributes:
        tau: How far the target network moves towards the online one, 1 to copy it.
        double: Choose the successor's action with the online network.
        epsilon_start: First probability of a random action of the default schedule.
        epsilon_end: Last probability of a random action of the default schedule.
        exploration_steps: Environment steps over which the default schedule goes from one to the other.
    """

    tau: float = 1.0
    double: bool = True
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    exploration_steps: int = 25_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "exploration_steps")
        require_fraction(self, "tau", "epsilon_start", "epsilon_end")


class DQNState(QLearningState):
    """State of DQN."""


class DQN(ReplayedQLearning[DQNConfig, DQNState]):
    """Epsilon-greedy double DQN."""

    name = "DQN"
    state_class = DQNState

    @staticmethod
    def _default_buffer(cfg: DQNConfig) -> SequenceBuffer:
        return SequenceBuffer(cfg.buffer_size, cfg.sequence_length, cfg.batch_size, cfg.burn_in)

    def _learn(self, key: Key, state: DQNState, trajectory: Trajectory) -> tuple[DQNState, Metrics]:
        cfg, buffer, step = self.cfg, state.buffer, self.steps_before(state)

        def update(state: DQNState, key: Key) -> tuple[DQNState, Metrics]:
            batch = self.buffer.sample(key, buffer)
            loss_fn = functools.partial(self._loss, target_params=state.target_params, batch=batch)
            return self._updated(state, loss_fn, step, cfg.tau)[:2]

        ready = self._can_learn(state)
        state, metrics = replayed_updates(key, state.replace(buffer=None), ready, cfg.num_updates, update)
        return state.replace(buffer=buffer), metrics

    def _loss(
        self, params: PyTree, target_params: PyTree, batch: ReplayBatch
    ) -> tuple[Array, tuple[Metrics, tuple[Array, None]]]:
        """Mean loss over the steps that have a target, and how many these are."""
        cfg = self.cfg
        errors, losses = q_errors(
            self.q_network, params, target_params, batch, cfg.gamma, self.buffer.burn_in, cfg.n_steps, cfg.double
        )
        loss = masked_mean(errors.loss, errors.known)
        metrics = {**losses, "q_loss": loss, **q_metrics(errors)}
        return sum(losses.values(), loss), (metrics, (errors.known.sum(), None))
