"""Deep Q-learning (Mnih et al., 2015) with double Q-learning (van Hasselt et al., 2016), from replayed sequences.

Sequences start from the carry that was stored with them and rebuild it over a burn-in (Kapturowski et al., 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import optax
from flax import struct

from memorax.algorithms.algorithm import Algorithm, AlgorithmState, MakeNetwork
from memorax.buffers import SequenceBuffer
from memorax.environments.environment import Environment
from memorax.environments.spaces import Discrete
from memorax.learning.exploration import epsilon_greedy
from memorax.learning.optimization import gradient_step, target_update
from memorax.networks import heads
from memorax.networks.network import Network, initialize, unroll, unroll_step, unroll_with_losses
from memorax.rollout import Policy, Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree, Timestep, Trajectory
from memorax.validation import require_fraction, require_not_negative, require_positive


@dataclass(frozen=True)
class DQNConfig:
    """Hyperparameters of DQN.

    Attributes:
        num_envs: environments stepped side by side.
        num_steps: steps in each environment between two rounds of updates.
        gamma: discount.
        num_updates: gradient steps in a round.
        learning_starts: environment steps, over all environments, before the first update.
        target_update_period: updates between two updates of the target network.
        tau: how far the target network moves towards the online one, 1 to copy it.
        double: choose the successor's action with the online network.
        buffer_size: environment steps, over all environments, the default buffer holds.
        batch_size: sequences in a batch of the default buffer.
        sequence_length: steps learned from in a sequence of the default buffer.
        burn_in: steps before them that only rebuild the carry.
        epsilon_start, epsilon_end: first and last probability of a random action of the default schedule.
        exploration_steps: environment steps over which the default schedule goes from one to the other.
    """

    num_envs: int = 8
    num_steps: int = 4
    gamma: float = 0.99
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
            *("num_envs", "num_steps", "num_updates", "target_update_period", "buffer_size", "batch_size"),
            *("sequence_length", "exploration_steps"),
        )
        require_fraction(self, "gamma", "tau", "epsilon_start", "epsilon_end")
        require_not_negative(self, "learning_starts", "burn_in")


class DQNState(AlgorithmState):
    """State of DQN: online and target parameters, optimiser state, updates made and the replay buffer."""

    params: PyTree
    target_params: PyTree
    optimizer_state: optax.OptState
    updates: Array
    buffer: PyTree


class ReplayedSteps(struct.PyTreeNode):
    """What the buffer keeps of a rollout: leaves `[B, T, ...]`."""

    timesteps: Timestep
    action: Array
    reward: Array
    terminated: Array


class DQN(Algorithm[DQNConfig, DQNState]):
    """Epsilon-greedy double DQN. `buffer` and `epsilon_schedule` default to those the config describes."""

    donated = ("buffer",)
    replays = True

    def __init__(
        self,
        cfg: DQNConfig,
        env: Environment,
        env_params: PyTree,
        q_network: Network,
        optimizer: optax.GradientTransformation,
        buffer: SequenceBuffer | None = None,
        epsilon_schedule: optax.Schedule | None = None,
    ) -> None:
        space = env.action_space(env_params)
        if not isinstance(space, Discrete):
            raise ValueError(
                f"DQN needs a Discrete action space, but that of {env.name} is {type(space).__name__}: use PPO"
            )
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

    @classmethod
    def build(
        cls,
        cfg: DQNConfig,
        env: Environment,
        env_params: PyTree,
        make_network: MakeNetwork,
        optimizer: optax.GradientTransformation,
    ) -> Self:
        return cls(cfg, env, env_params, make_network(heads.q_head(env.action_space(env_params))), optimizer)

    def _init(self, key: Key, worker: Worker) -> DQNState:
        params, carry = initialize(self.q_network, key, worker.timestep)
        flag = jnp.zeros_like(worker.timestep.done)
        timestep = worker.timestep
        step = ReplayedSteps(timestep, timestep.action, timestep.reward, terminated=flag)
        return DQNState(
            step=jnp.zeros((), jnp.int32),
            worker=worker,
            params=params,
            target_params=params,
            optimizer_state=self.optimizer.init(params),
            updates=jnp.zeros((), jnp.int32),
            buffer=self.buffer.init(step, carry, self.cfg.num_steps),
        )

    def acting_params(self, state: DQNState) -> PyTree:
        return state.params

    def _policy(self, state: DQNState, explore: bool) -> Policy:
        epsilon = self.epsilon_schedule(state.step) if explore else 0.0

        def policy(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, PyTree, PyTree]:
            carry, q_values = unroll_step(self.q_network, state.params, timestep, carry)
            return carry, epsilon_greedy(key, q_values[:, 0], epsilon), {}

        return policy

    def _store(self, state: DQNState, trajectory: Trajectory) -> DQNState:
        steps = ReplayedSteps(trajectory.timesteps, trajectory.action, trajectory.reward, trajectory.terminated)
        return state.replace(buffer=self.buffer.add(state.buffer, steps, trajectory.carry))

    def _learn(self, key: Key, state: DQNState, trajectory: Trajectory) -> tuple[DQNState, Metrics]:
        buffer = state.buffer

        def update(state: DQNState, key: Key) -> tuple[DQNState, Metrics]:
            batch = self.buffer.sample(key, buffer)
            params, optimizer_state, metrics = gradient_step(
                lambda params: self._loss(params, state.target_params, batch.steps, batch.carry),
                state.params,
                self.optimizer,
                state.optimizer_state,
            )
            updates = state.updates + 1
            target_params = target_update(
                params, state.target_params, updates, self.cfg.target_update_period, self.cfg.tau
            )
            state = state.replace(
                params=params, target_params=target_params, optimizer_state=optimizer_state, updates=updates
            )
            return state, metrics

        def learn(state: DQNState) -> tuple[DQNState, Metrics]:
            state, metrics = jax.lax.scan(update, state, jax.random.split(key, self.cfg.num_updates))
            return state, jax.tree.map(jnp.mean, metrics)

        def wait(state: DQNState) -> tuple[DQNState, Metrics]:
            return state, jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), jax.eval_shape(learn, state)[1])

        # Without its buffer, or a branch not taken would still copy it.
        state = state.replace(buffer=None)
        ready = self.buffer.can_sample(buffer) & (state.step >= self.cfg.learning_starts)
        state, metrics = jax.lax.cond(ready, learn, wait, state)
        return state.replace(buffer=buffer), metrics

    def _loss(self, params: PyTree, target_params: PyTree, steps: ReplayedSteps, carry: Carry) -> tuple[Array, Metrics]:
        """Mean Huber loss of the TD errors, over steps whose successor is known: time limits and restarts hide it."""
        burn_in = self.buffer.burn_in
        _, q_values, losses = unroll_with_losses(self.q_network, params, steps.timesteps, carry, burn_in)
        _, target_q_values = unroll(self.q_network, target_params, steps.timesteps, carry, burn_in)
        learned = jax.tree.map(lambda x: x[:, burn_in:-1], steps)
        choosing = q_values if self.cfg.double else target_q_values
        next_action = jnp.argmax(choosing[:, 1:], axis=-1)
        next_value = _at(target_q_values[:, 1:], next_action)
        discount = self.cfg.gamma * (1.0 - learned.terminated)
        target = jax.lax.stop_gradient(learned.reward + discount * next_value)
        value = _at(q_values[:, :-1], learned.action)
        hidden = steps.timesteps.done[:, burn_in + 1 :] & ~learned.terminated
        weight = 1.0 - hidden
        loss = jnp.sum(weight * optax.huber_loss(value, target)) / jnp.maximum(weight.sum(), 1.0)
        return sum(losses.values(), loss), {**losses, "q_loss": loss, "q_value": value.mean()}


def _at(q_values: Array, action: Array) -> Array:
    """The values `[N, L]` of actions `[N, L]` among `[N, L, A]`."""
    return jnp.take_along_axis(q_values, action[..., None], axis=-1)[..., 0]
