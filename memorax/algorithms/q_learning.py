"""What algorithms that learn action values share: the constructor, how they explore, and replay."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import Algorithm, Config, ReplayState, State
from memorax.buffers import ReplayBuffer
from memorax.environments.environment import Environment
from memorax.environments.spaces import Discrete
from memorax.learning.exploration import epsilon_greedy_policy
from memorax.learning.optimization import Learner, gradient_step, target_update
from memorax.learning.replay import ReplayedSteps
from memorax.networks import heads
from memorax.networks.network import Network, initialize
from memorax.rollout import Policy, Worker
from memorax.types import Array, Key, Metrics, PyTree, Trajectory
from memorax.validation import require_at_most, require_fraction, require_not_negative, require_positive

LossOfTargets = Callable[[PyTree], tuple[Array, tuple[Metrics, tuple[Array, Any]]]]
"""A loss of a network's variables, with its metrics, the number of steps that have a target, and anything else."""


@dataclass(frozen=True)
class ReplayConfig:
    """Hyperparameters of Q-learning from replayed sequences.

    Attributes:
        num_envs: Environments stepped side by side.
        num_steps: Steps in each environment between two rounds of updates.
        gamma: Discount of returns.
        n_steps: Rewards summed in a target before the value of the successor.
        num_updates: Gradient steps in a round.
        learning_starts: Environment steps, over all environments, before the first update.
        target_update_period: Updates between two updates of the target network.
        buffer_size: Environment steps, over all environments, the default buffer holds.
        batch_size: Sequences in a batch of the default buffer.
        sequence_length: Steps learned from in a sequence of the default buffer.
        burn_in: Steps before them that only rebuild the carry, in the default buffer.
    """

    num_envs: int = 8
    num_steps: int = 4
    gamma: float = 0.99
    n_steps: int = 1
    num_updates: int = 2
    learning_starts: int = 1_000
    target_update_period: int = 250
    buffer_size: int = 100_000
    batch_size: int = 32
    sequence_length: int = 4
    burn_in: int = 0

    def __post_init__(self) -> None:
        counts = ("num_envs", "num_steps", "n_steps", "num_updates", "target_update_period")
        require_positive(self, *counts, "buffer_size", "batch_size", "sequence_length")
        require_at_most(self, "batch_size", "buffer_size")
        require_fraction(self, "gamma")
        require_not_negative(self, "learning_starts", "burn_in")


class QLearning(Algorithm[Config, State], Generic[Config, State]):
    """An epsilon-greedy agent with one network of action values.

    The probability of a random action follows `epsilon_schedule`, by default from `epsilon_start` to `epsilon_end` of
    the config over `exploration_steps`.
    """

    network_heads: ClassVar[Mapping[str, Callable[[Any], Any]]] = {"q_network": heads.q_head}
    optimizers: ClassVar[tuple[str, ...]] = ("optimizer",)

    name: ClassVar[str]
    """The algorithm's name in messages."""

    alternative: ClassVar[str] = "PPO or SAC"
    """What to use where actions cannot be enumerated."""

    def __init__(
        self,
        cfg: Config,
        env: Environment,
        env_params: PyTree,
        q_network: Network,
        optimizer: optax.GradientTransformation,
        epsilon_schedule: optax.Schedule | None = None,
    ) -> None:
        self.q_network = q_network
        self.optimizer = optimizer
        self.epsilon_schedule = epsilon_schedule or self._default_epsilon_schedule(cfg)
        super().__init__(cfg, env, env_params, {"q_network": q_network})

    def _check_environment(self) -> None:
        space = self.env.action_space(self.env_params)
        if not isinstance(space, Discrete):
            raise ValueError(
                f"{self.name} needs a Discrete action space, but that of {self.env.name} is {type(space).__name__}: "
                f"use {self.alternative}"
            )

    def _policy(self, state: State, explore: bool) -> Policy:
        def epsilons(batch_size: int) -> Array | float:
            return self._epsilons(state.step, batch_size) if explore else 0.0

        return epsilon_greedy_policy(self.q_network, self.acting_params(state), epsilons)

    def _epsilons(self, step: Array, batch_size: int) -> Array | float:
        """The probability of a random action: one, or one for each row of the batch."""
        return self.epsilon_schedule(step)

    @staticmethod
    def _default_epsilon_schedule(cfg: Any) -> optax.Schedule:
        return optax.linear_schedule(cfg.epsilon_start, cfg.epsilon_end, cfg.exploration_steps)


class QLearningState(ReplayState):
    """The online network with its optimizer's state, and the target network's variables."""

    learner: Learner
    target_params: PyTree

    @property
    def params(self) -> PyTree:
        """The online network's variables."""
        return self.learner.variables


QState = TypeVar("QState", bound=QLearningState)
ReplayedConfig = TypeVar("ReplayedConfig", bound=ReplayConfig)


class ReplayedQLearning(QLearning[ReplayedConfig, QState], Generic[ReplayedConfig, QState]):
    """Q-learning from replay. `buffer` and `epsilon_schedule` default to those the config describes."""

    donated = ("buffer",)
    replays = True

    state_class: ClassVar[type[QLearningState]] = QLearningState
    """The class of the state."""

    def __init__(
        self,
        cfg: ReplayedConfig,
        env: Environment,
        env_params: PyTree,
        q_network: Network,
        optimizer: optax.GradientTransformation,
        buffer: ReplayBuffer | None = None,
        epsilon_schedule: optax.Schedule | None = None,
    ) -> None:
        self.buffer = buffer or self._default_buffer(cfg)
        super().__init__(cfg, env, env_params, q_network, optimizer, epsilon_schedule)

    @staticmethod
    @abc.abstractmethod
    def _default_buffer(cfg: Any) -> ReplayBuffer:
        """The buffer that the config describes."""

    def _init(self, key: Key, worker: Worker) -> QState:
        params, carry = initialize(self.q_network, key, worker.timestep)
        stored = (ReplayedSteps.like(worker.timestep), carry)
        state: Any = self.state_class(
            step=jnp.zeros((), jnp.int32),
            worker=worker,
            buffer=self.buffer.init(*stored, self.cfg.num_steps, self.carry_interval),
            updates=jnp.zeros((), jnp.int32),
            targets=jnp.zeros((), jnp.float32),
            learner=Learner.create(params, self.optimizer),
            target_params=params,
        )
        return state

    def acting_params(self, state: QState) -> PyTree:
        return state.params

    def _store(self, state: QState, trajectory: Trajectory) -> QState:
        buffer = self.buffer.add(state.buffer, ReplayedSteps.of(trajectory), trajectory.carry)
        return state.replace(buffer=buffer)

    def _can_learn(self, state: QState) -> Array:
        """Whether there is anything to draw, and enough steps were taken."""
        return self.buffer.can_sample(state.buffer) & (state.step >= self.cfg.learning_starts)

    def _updated(
        self, state: QState, loss_fn: LossOfTargets, step: Array, tau: Array | float = 1.0
    ) -> tuple[QState, Metrics, Any]:
        """The state after a step down the gradient of a loss.

        Args:
            state: the state before.
            loss_fn: `variables -> (loss, (metrics, (number of steps with a target, anything else)))`.
            step: environment steps taken, for schedules.
            tau: how far the target network moves, when it does.

        Returns:
            `(state, metrics, anything else)`.
        """
        learner, metrics, (targets, auxiliary) = gradient_step(loss_fn, state.learner, self.optimizer, step=step)
        updates, period = state.updates + 1, self.cfg.target_update_period
        state = state.replace(
            learner=learner,
            target_params=target_update(learner.variables, state.target_params, updates, period, tau),
            updates=updates,
            targets=state.targets + targets,
        )
        return state, metrics, auxiliary
