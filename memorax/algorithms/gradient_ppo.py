"""PPO whose critic descends a gradient temporal-difference objective (Elelimy et al., 2025, "Deep Reinforcement
Learning with Gradient Eligibility Traces", algorithm 1), recurrent when its torsos are.

The critic minimises the generalised projected Bellman error of lambda-returns instead of following semi-gradients, by
TDRC(lambda): an auxiliary network h predicts the lambda-advantage A, and the critic moves along

    A dv - h (dv + dA),

h itself along `(A - h) dh - beta theta_h`. The advantages are differentiated through whole sequences: A is linear in
the values, so these are the gradients of `sum [-A v + h (v + A(w))]` and `sum [(A - h)^2 / 2] + beta |theta_h|^2 / 2`
in which everything but `v`, `A(w)` and, in the second, `h` is constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from memorax.algorithms.ppo import PPO, Minibatch, PPOConfig, PPOState
from memorax.environments.environment import Environment
from memorax.learning.batching import flatten_carries, trajectory_sequences
from memorax.learning.bootstrap import advantages_along, carries_along
from memorax.learning.losses import masked_mean
from memorax.learning.optimization import Learner, gradient_step
from memorax.networks import heads
from memorax.networks.network import Network, initialize, unroll_with_losses
from memorax.rollout import Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree, Trajectory
from memorax.validation import require_finite, require_not_negative


@dataclass(frozen=True)
class GradientPPOConfig(PPOConfig):
    """Hyperparameters of gradient PPO.

    The critic's advantages are those of its sequences: `gae_lambda` reaches over `sequence_length` steps. By default
    that is a whole rollout, be there a carry or not; the paper has 32. `clip_vloss` and `burn_in` do not apply.

    Attributes:
        beta: Weight of the penalty on the auxiliary network's parameters: 1 is TDRC, 0 is TDC.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite(self, "beta")
        require_not_negative(self, "beta")
        if self.clip_vloss or self.burn_in:
            name = "clip_vloss" if self.clip_vloss else "burn_in"
            raise ValueError(f"{name} ({getattr(self, name)}) must be left out: the critic has a gradient of its own")


class GradientPPOState(PPOState):
    """State of PPO, and the auxiliary network with its optimizer's state and its carry `[B, ...]`."""

    auxiliary: Learner
    auxiliary_carry: Carry


class GradientMinibatch(Minibatch):
    """Sequences as rollouts too, the auxiliary network's carry before them, and its outputs `[N, L]`, once known."""

    trajectory: Trajectory
    auxiliary_carry: Carry
    prediction: Array | None = None


class GradientPPO(PPO):
    """PPO whose critic descends a gradient temporal-difference objective, TDRC(lambda)."""

    network_heads = {**PPO.network_heads, "auxiliary_network": lambda space: heads.VNetwork()}  # noqa: RUF012
    optimizers: ClassVar[tuple[str, ...]] = (*PPO.optimizers, "auxiliary_optimizer")
    privileged: ClassVar[tuple[str, ...]] = ("critic_network", "auxiliary_network")
    cfg: GradientPPOConfig

    def __init__(
        self,
        cfg: GradientPPOConfig,
        env: Environment,
        env_params: PyTree,
        actor_network: Network,
        critic_network: Network,
        auxiliary_network: Network,
        actor_optimizer: optax.GradientTransformation,
        critic_optimizer: optax.GradientTransformation,
        auxiliary_optimizer: optax.GradientTransformation,
    ) -> None:
        self.auxiliary_network = auxiliary_network
        self.auxiliary_optimizer = auxiliary_optimizer
        networks, optimizers = (actor_network, critic_network), (actor_optimizer, critic_optimizer)
        super().__init__(cfg, env, env_params, *networks, *optimizers, {"auxiliary_network": auxiliary_network})

    @property
    def carry_interval(self) -> int:
        return self.cfg.sequence_length or self.cfg.num_steps

    def _init(self, key: Key, worker: Worker) -> GradientPPOState:
        key, auxiliary_key = jax.random.split(key)
        params, carry = initialize(self.auxiliary_network, auxiliary_key, worker.timestep)
        auxiliary = Learner.create(params, self.auxiliary_optimizer)
        return GradientPPOState(**vars(super()._init(key, worker)), auxiliary=auxiliary, auxiliary_carry=carry)

    def _prepare(self, state: Any, trajectory: Trajectory) -> tuple[Any, GradientMinibatch]:
        state, batch = super()._prepare(state, trajectory)
        network, variables, length = self.auxiliary_network, state.auxiliary.variables, self.carry_interval
        carry, carries = carries_along(network, variables, trajectory.timesteps, state.auxiliary_carry, length)
        sequences = trajectory_sequences(trajectory, length)
        batch = GradientMinibatch(**vars(batch), trajectory=sequences, auxiliary_carry=flatten_carries(carries))
        return state.replace(auxiliary_carry=carry), batch

    def _update(self, state: Any, batch: Any, step: Array, ent_coef: Array | float) -> tuple[Any, Metrics]:
        # Each network moves by what the other was before the update.
        advantage = self._advantages(state.critic_params, batch)
        auxiliary, metrics, prediction = gradient_step(
            lambda variables: self._auxiliary_loss(variables, batch, advantage),
            state.auxiliary,
            self.auxiliary_optimizer,
            "auxiliary_",
            step=step,
        )
        state, own_metrics = super()._update(state, batch.replace(prediction=prediction), step, ent_coef)
        return state.replace(auxiliary=auxiliary), {**metrics, **own_metrics}

    def _advantages(self, params: PyTree, batch: GradientMinibatch) -> Array:
        """Lambda-advantages of sequences `[N, L]`, differentiable by the critic's parameters."""
        length, gamma, lambda_ = self.carry_interval, self.cfg.gamma, self.cfg.gae_lambda
        network, carry = self.critic_network, batch.critic_carry
        return advantages_along(network, params, batch.trajectory, carry, length, gamma, lambda_)[3]

    def _critic_loss(self, params: PyTree, batch: Any) -> tuple[Array, tuple[Metrics, None]]:
        _, output, losses = unroll_with_losses(
            self.critic_network, params, batch.timesteps, batch.critic_carry, prefix="critic_"
        )
        value, advantage = self.critic_network.head.value(output), self._advantages(params, batch)
        loss = batch.prediction * (value + advantage) - jax.lax.stop_gradient(advantage) * value
        return sum(losses.values(), self.cfg.vf_coef * masked_mean(loss, batch.active)), (losses, None)

    def _auxiliary_loss(
        self, params: PyTree, batch: GradientMinibatch, advantage: Array
    ) -> tuple[Array, tuple[Metrics, Array]]:
        """Half the squared error of the prediction and the penalty; the prediction `[N, L]` comes along."""
        _, output, losses = unroll_with_losses(
            self.auxiliary_network, params, batch.timesteps, batch.auxiliary_carry, prefix="auxiliary_"
        )
        prediction = self.auxiliary_network.head.value(output)
        error = masked_mean(0.5 * jnp.square(advantage - prediction), batch.active)
        penalty = 0.5 * self.cfg.beta * optax.tree.norm(params["params"], squared=True)
        return sum(losses.values(), error + penalty), ({**losses, "auxiliary_error": error}, prediction)
