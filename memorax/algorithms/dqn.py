"""Deep Q-learning (Mnih et al., 2015) with double Q-learning (van Hasselt et al., 2016), from replayed sequences.

Sequences start from the carry that was stored with them and rebuild it over a burn-in (Kapturowski et al., 2019): with
a recurrent torso it is DRQN (Hausknecht & Stone, 2015). Dueling, categorical, quantile and histogram values are choices
of the network's head.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import optax

from memorax.algorithms.algorithm import Algorithm
from memorax.algorithms.q_learning import QLearningState, require_discrete
from memorax.buffers import ReplayBatch, ReplayBuffer, SequenceBuffer
from memorax.environments.environment import Environment
from memorax.learning.exploration import epsilon_greedy_policy
from memorax.learning.losses import masked_mean
from memorax.learning.q_learning import q_errors, q_metrics
from memorax.learning.replay import replayed_updates
from memorax.networks import heads
from memorax.networks.network import Network
from memorax.rollout import Policy, Worker
from memorax.types import Array, Key, Metrics, PyTree, Trajectory
from memorax.validation import require_fraction, require_not_negative, require_positive


@dataclass(frozen=True)
class DQNConfig:
    """Hyperparameters of DQN.

    Attributes:
        num_envs: Environments stepped side by side.
        num_steps: Steps in each environment between two rounds of updates.
        gamma: Discount of returns.
        n_steps: Rewards summed in a target before the value of the successor.
        num_updates: Gradient steps in a round.
        learning_starts: Environment steps, over all environments, before the first update.
        target_update_period: Updates between two updates of the target network.
        tau: How far the target network moves towards the online one, 1 to copy it.
        double: Choose the successor's action with the online network.
        buffer_size: Environment steps, over all environments, the default buffer holds.
        batch_size: Sequences in a batch of the default buffer.
        sequence_length: Steps learned from in a sequence of the default buffer.
        burn_in: Steps before them that only rebuild the carry, in the default buffer.
        epsilon_start: First probability of a random action of the default schedule.
        epsilon_end: Last probability of a random action of the default schedule.
        exploration_steps: Environment steps over which the default schedule goes from one to the other.
    """

    num_envs: int = 8
    num_steps: int = 4
    gamma: float = 0.99
    n_steps: int = 1
    num_updates: int = 2
    learning_starts: int = 1_000
    target_update_period: int = 250
    tau: float = 1.0
    double: bool = True
    buffer_size: int = 100_000
    batch_size: int = 32
    sequence_length: int = 4
    burn_in: int = 0
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    exploration_steps: int = 25_000

    def __post_init__(self) -> None:
        require_positive(
            self,
            *("num_envs", "num_steps", "n_steps", "num_updates", "target_update_period", "buffer_size", "batch_size"),
            *("sequence_length", "exploration_steps"),
        )
        require_fraction(self, "gamma", "tau", "epsilon_start", "epsilon_end")
        require_not_negative(self, "learning_starts", "burn_in")


class DQNState(QLearningState):
    """State of DQN."""


class DQN(Algorithm[DQNConfig, DQNState]):
    """Epsilon-greedy double DQN. `buffer` and `epsilon_schedule` default to those the config describes."""

    network_heads = {"q_network": heads.q_head}  # noqa: RUF012
    optimizers = ("optimizer",)
    donated = ("buffer",)
    replays = True

    def __init__(
        self,
        cfg: DQNConfig,
        env: Environment,
        env_params: PyTree,
        q_network: Network,
        optimizer: optax.GradientTransformation,
        buffer: ReplayBuffer | None = None,
        epsilon_schedule: optax.Schedule | None = None,
    ) -> None:
        require_discrete("DQN", env, env_params, instead="PPO or SAC")
        self.q_network = q_network
        self.optimizer = optimizer
        self.buffer = buffer or SequenceBuffer(
            capacity=cfg.buffer_size,
            batch_size=cfg.batch_size,
            sequence_length=cfg.sequence_length,
            burn_in=cfg.burn_in,
        )
        self.epsilon_schedule = epsilon_schedule or optax.linear_schedule(
            cfg.epsilon_start, cfg.epsilon_end, cfg.exploration_steps
        )
        super().__init__(cfg, env, env_params, {"q_network": q_network})

    def _init(self, key: Key, worker: Worker) -> DQNState:
        steps = self.cfg.num_steps
        return DQNState.create(key, worker, self.q_network, self.optimizer, self.buffer, steps, period=steps)

    def acting_params(self, state: DQNState) -> PyTree:
        return state.params

    def _policy(self, state: DQNState, explore: bool) -> Policy:
        epsilon = self.epsilon_schedule(state.step) if explore else 0.0
        return epsilon_greedy_policy(self.q_network, state.params, lambda batch_size: epsilon)

    def _store(self, state: DQNState, trajectory: Trajectory) -> DQNState:
        return state.with_rollout(self.buffer, trajectory)

    def _learn(self, key: Key, state: DQNState, trajectory: Trajectory) -> tuple[DQNState, Metrics]:
        cfg, buffer, step = self.cfg, state.buffer, self.steps_before(state)

        def update(state: DQNState, key: Key) -> tuple[DQNState, Metrics]:
            batch = self.buffer.sample(key, buffer)
            loss_fn = functools.partial(self._loss, target_params=state.target_params, batch=batch)
            return state.updated(loss_fn, self.optimizer, step, cfg.target_update_period, cfg.tau)[:2]

        ready = self.buffer.can_sample(buffer) & (state.step >= cfg.learning_starts)
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
