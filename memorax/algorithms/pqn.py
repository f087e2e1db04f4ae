"""Q-learning without replay and without target network (Gallici et al., 2025, "Simplifying Deep Temporal Difference
Learning"; PQN), recurrent when its torso is.

Lambda-returns of the greedy policy are computed once per rollout and learned from in epochs of minibatches; what keeps
it stable is layer normalisation, which the default head has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from memorax.algorithms.algorithm import AlgorithmState
from memorax.algorithms.q_learning import QLearning
from memorax.learning.batching import flatten_carries, to_sequences
from memorax.learning.bootstrap import ends_of_returns, values_along
from memorax.learning.epochs import check_minibatches, epochs
from memorax.learning.losses import masked_mean
from memorax.learning.optimization import Learner, gradient_step
from memorax.learning.returns import lambda_return
from memorax.networks import heads
from memorax.networks.network import initialize, unroll, unroll_with_losses
from memorax.rollout import Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree, Timestep, Trajectory
from memorax.validation import require_fraction, require_positive, require_sequences


@dataclass(frozen=True)
class PQNConfig:
    """Hyperparameters of PQN.

    Attributes:
        num_envs: Environments stepped side by side.
        num_steps: Steps in each environment between two updates.
        gamma: Discount of returns.
        q_lambda: Lambda of the returns: 0 bootstraps after every step, 1 only at the end of a rollout.
        num_minibatches: Minibatches per epoch; each holds whole sequences.
        update_epochs: Passes over a rollout.
        sequence_length: Steps in a training sequence; divides `num_steps`. By default whole rollouts, or single steps
            where the network has no carry.
        epsilon_start: First probability of a random action.
        epsilon_end: Last probability of a random action.
        exploration_steps: Environment steps, over all environments, over which it goes from one to the other.
    """

    num_envs: int = 16
    num_steps: int = 32
    gamma: float = 0.99
    q_lambda: float = 0.65
    num_minibatches: int = 4
    update_epochs: int = 4
    sequence_length: int | None = None
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    exploration_steps: int = 100_000

    def __post_init__(self) -> None:
        require_positive(self, "num_envs", "num_steps", "num_minibatches", "update_epochs", "exploration_steps")
        require_fraction(self, "gamma", "q_lambda", "epsilon_start", "epsilon_end")
        require_sequences(self)


class PQNState(AlgorithmState):
    """State of PQN: the network with its optimizer's state."""

    learner: Learner


class ReturnBatch(struct.PyTreeNode):
    """Sequences and the returns to learn: leaves `[N, L, ...]`, the carry `[N, ...]`."""

    timesteps: Timestep
    action: Array
    target: Array
    active: Array | None
    carry: Carry


def normalized_q_head(space: Any) -> Any:
    """A head with a normalised hidden layer, trained by the squared error."""
    head = heads.q_head(space, "discrete")
    return head.clone(representation=heads.Scalar(), hidden_features=(128,), layer_norm=True)


class PQN(QLearning[PQNConfig, PQNState]):
    """Epsilon-greedy Q-learning on lambda-returns of fresh rollouts."""

    name = "PQN"
    network_heads = {"q_network": normalized_q_head}  # noqa: RUF012

    def _check_settings(self) -> None:
        check_minibatches(self.cfg, self._environments.batch_size, self.carry_interval)

    @property
    def carry_interval(self) -> int:
        return self.cfg.sequence_length or (self.cfg.num_steps if self.has_memory else 1)

    def _init(self, key: Key, worker: Worker) -> PQNState:
        params, _ = initialize(self.q_network, key, worker.timestep)
        learner = Learner.create(params, self.optimizer)
        return PQNState(step=jnp.zeros((), jnp.int32), worker=worker, learner=learner)

    def acting_params(self, state: PQNState) -> PyTree:
        return state.learner.variables

    def _learn(self, key: Key, state: PQNState, trajectory: Trajectory) -> tuple[PQNState, Metrics]:
        target = self._targets(state, trajectory)
        steps = (trajectory.timesteps, trajectory.action, target, trajectory.active)
        timesteps, action, target, active = to_sequences(steps, self.carry_interval)
        batch = ReturnBatch(timesteps, action, target, active, flatten_carries(trajectory.carry))
        step = self.steps_before(state)

        def update(state: PQNState, batch: ReturnBatch) -> tuple[PQNState, Metrics]:
            learner, metrics, _ = gradient_step(
                lambda params: self._loss(params, batch), state.learner, self.optimizer, step=step
            )
            return state.replace(learner=learner), metrics

        return epochs(key, state, batch, self.cfg.update_epochs, self.cfg.num_minibatches, update)

    def _targets(self, state: PQNState, trajectory: Trajectory) -> Array:
        """Lambda-returns of the greedy policy `[B, T]`, by the network that acted, exact at time limits."""

        def greedy_value(params: PyTree, timesteps: Timestep, carry: Carry) -> tuple[Carry, Array]:
            carry, output = unroll(self.q_network, params, timesteps, carry)
            return carry, self.q_network.head.value(output).max(axis=-1)

        first_carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
        _, _, _, next_values = values_along(
            greedy_value, self.acting_params(state), trajectory, first_carry, self.carry_interval
        )
        discounts, ends = ends_of_returns(trajectory, self.cfg.gamma)
        return jax.vmap(lambda_return, in_axes=(0, 0, 0, 0, None))(
            trajectory.reward, next_values, discounts, ends, self.cfg.q_lambda
        )

    def _loss(self, params: PyTree, batch: ReturnBatch) -> tuple[Array, tuple[Metrics, None]]:
        head = self.q_network.head
        _, output, losses = unroll_with_losses(self.q_network, params, batch.timesteps, batch.carry)
        selected = head.select(output, batch.action)
        loss = masked_mean(head.loss(selected, batch.target), batch.active)
        metrics = {**losses, "q_loss": loss, "q_value": masked_mean(head.value(selected), batch.active)}
        return sum(losses.values(), loss), (metrics, None)
