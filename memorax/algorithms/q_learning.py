"""What algorithms that learn action values from replay share: their state, and one update of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import ReplayState
from memorax.buffers import ReplayBuffer
from memorax.environments.environment import Environment
from memorax.environments.spaces import Discrete
from memorax.learning.optimization import Learner, gradient_step, target_update
from memorax.learning.replay import ReplayedSteps
from memorax.networks.network import Network, initialize
from memorax.rollout import Worker
from memorax.types import Array, Key, Metrics, PyTree, Trajectory


class QLearningState(ReplayState):
    """The online network with its optimizer's state, and the target network's variables."""

    learner: Learner
    target_params: PyTree

    @property
    def params(self) -> PyTree:
        """The online network's variables."""
        return self.learner.variables

    @classmethod
    def create(
        cls,
        key: Key,
        worker: Worker,
        network: Network,
        optimizer: optax.GradientTransformation,
        buffer: ReplayBuffer,
        num_steps: int,
        period: int,
    ) -> Self:
        """The state before the first step.

        Args:
            key: random key.
            worker: where the policy stands in its environments.
            network: the action-value network.
            optimizer: trains it.
            buffer: what is replayed from; it starts empty.
            num_steps: steps of each environment that are stored at a time.
            period: steps between two stored carries.
        """
        params, carry = initialize(network, key, worker.timestep)
        return cls(
            step=jnp.zeros((), jnp.int32),
            worker=worker,
            buffer=buffer.init(ReplayedSteps.like(worker.timestep), carry, num_steps, period),
            updates=jnp.zeros((), jnp.int32),
            targets=jnp.zeros((), jnp.float32),
            learner=Learner.create(params, optimizer),
            target_params=params,
        )

    def with_rollout(self, buffer: ReplayBuffer, trajectory: Trajectory) -> Self:
        """The state with a rollout in its replay buffer."""
        return self.replace(buffer=buffer.add(self.buffer, ReplayedSteps.of(trajectory), trajectory.carry))

    def updated(
        self,
        loss_fn: Callable[[PyTree], tuple[Array, tuple[Metrics, tuple[Array, Any]]]],
        optimizer: optax.GradientTransformation,
        step: Array,
        target_update_period: int,
        tau: Array | float = 1.0,
    ) -> tuple[Self, Metrics, Any]:
        """The state after a step down the gradient of a loss.

        Args:
            loss_fn: `variables -> (loss, (metrics, (number of steps with a target, anything else)))`.
            optimizer: trains the network.
            step: environment steps taken, for schedules.
            target_update_period: updates between two updates of the target network.
            tau: how far the target network then moves.

        Returns:
            `(state, metrics, anything else)`.
        """
        learner, metrics, (targets, auxiliary) = gradient_step(loss_fn, self.learner, optimizer, step=step)
        updates = self.updates + 1
        target_params = target_update(learner.variables, self.target_params, updates, target_update_period, tau)
        state = self.replace(
            learner=learner, target_params=target_params, updates=updates, targets=self.targets + targets
        )
        return state, metrics, auxiliary


def require_discrete(algorithm: str, env: Environment, env_params: PyTree, instead: str) -> None:
    """Raise a `ValueError` unless an environment's actions can be enumerated; `instead` names what to use then."""
    space = env.action_space(env_params)
    if not isinstance(space, Discrete):
        kind = type(space).__name__
        raise ValueError(f"{algorithm} needs a Discrete action space, but that of {env.name} is {kind}: use {instead}")
