"""PPO whose actor and critic share a feature extractor and a torso."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import AlgorithmState
from memorax.algorithms.ppo import PPO, Minibatch, PPOConfig
from memorax.environments.environment import Environment
from memorax.learning.losses import clipped_value_loss, masked_mean, policy_loss
from memorax.learning.optimization import Learner, gradient_step
from memorax.networks import heads
from memorax.networks.network import Network, initialize, unroll_truncated
from memorax.rollout import Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree


class SharedPPOState(AlgorithmState):
    """State of PPO with one network: the network with its optimizer's state, and its carry `[B, ...]`.

    The carry is the acting one's twin: it goes on with the values of each rollout.
    """

    learner: Learner
    critic_carry: Carry

    @property
    def actor_params(self) -> PyTree:
        """The network's variables."""
        return self.learner.variables

    @property
    def critic_params(self) -> PyTree:
        """The network's variables."""
        return self.learner.variables


class SharedPPO(PPO):
    """PPO with one network, whose head is an `ActorCritic`: its loss is the sum of the actor's and the critic's."""

    network_heads = {  # noqa: RUF012
        "network": lambda space: heads.ActorCritic(heads.policy_head(space), heads.VNetwork())
    }
    optimizers: ClassVar[tuple[str, ...]] = ("optimizer",)
    privileged: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        cfg: PPOConfig,
        env: Environment,
        env_params: PyTree,
        network: Network,
        optimizer: optax.GradientTransformation,
    ) -> None:
        if not isinstance(network.head, heads.ActorCritic):
            raise ValueError(
                f"network needs the head ActorCritic(policy_head, value_head), not {type(network.head).__name__}"
            )
        self.network = network
        # The same variables serve these two: each leaves one head out.
        policy, value = network.clone(head=network.head.policy_alone), network.clone(head=network.head.value_alone)
        super().__init__(cfg, env, env_params, policy, value, optimizer, optimizer)

    def _init(self, key: Key, worker: Worker) -> Any:
        params, carry = initialize(self.network, key, worker.timestep)
        return SharedPPOState(
            step=jnp.zeros((), jnp.int32),
            worker=worker,
            learner=Learner.create(params, self.actor_optimizer),
            critic_carry=carry,
        )

    def _update(self, state: Any, batch: Minibatch, step: Array, ent_coef: Array | float) -> tuple[Any, Metrics]:
        def loss(params: PyTree) -> tuple[Array, tuple[Metrics, None]]:
            output, losses = unroll_truncated(
                self.network, params, batch.timesteps, batch.actor_carry, self.cfg.burn_in
            )
            actor_loss, entropy, metrics = policy_loss(
                output.policy,
                batch.action,
                batch.log_prob,
                batch.advantage,
                batch.active,
                self.cfg.clip_coef,
                self.cfg.normalize_advantage,
            )
            clip = self.cfg.clip_coef if self.cfg.clip_vloss else None
            errors = clipped_value_loss(self.network.head.value_head, output.value, batch.target, batch.value, clip)
            critic_loss = self.cfg.vf_coef * masked_mean(errors, batch.active)
            total = sum(losses.values(), actor_loss - ent_coef * entropy + critic_loss)
            return total, ({**losses, **metrics, "critic_loss": critic_loss}, None)

        learner, metrics, _ = gradient_step(loss, state.learner, self.actor_optimizer, step=step)
        return state.replace(learner=learner), metrics
