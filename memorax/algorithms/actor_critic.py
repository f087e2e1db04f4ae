"""What algorithms with an actor and a critic of their own share: the constructor, the state and how it acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp
import optax

from memorax.algorithms.algorithm import Algorithm, AlgorithmState, Config
from memorax.environments.environment import Environment
from memorax.learning.exploration import stochastic_policy
from memorax.learning.optimization import Learner, gradient_step
from memorax.learning.traces import TracedLearner
from memorax.networks import heads
from memorax.networks.network import Network, initialize
from memorax.rollout import Policy, Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree

Loss = Callable[[PyTree], tuple[Array, tuple[Metrics, None]]]
"""A loss of a network's variables, with its metrics."""


class ActorCriticState(AlgorithmState):
    """Both networks with their optimizers' states, and the critic's carry `[B, ...]`."""

    actor: Learner
    critic: Learner
    critic_carry: Carry

    @property
    def actor_params(self) -> PyTree:
        """The actor's variables."""
        return self.actor.variables

    @property
    def critic_params(self) -> PyTree:
        """The critic's variables."""
        return self.critic.variables


State = TypeVar("State", bound=ActorCriticState)


class ActorCritic(Algorithm[Config, State], Generic[Config, State]):
    """An agent that samples its actor's actions, and whose critic's carry goes on with every rollout.

    A member names the class of its state and implements `_learn`; what its settings have to satisfy it checks in
    `_check`.
    """

    network_heads: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "actor_network": heads.policy_head,
        "critic_network": lambda space: heads.VNetwork(),
    }
    optimizers: ClassVar[tuple[str, ...]] = ("actor_optimizer", "critic_optimizer")
    privileged: ClassVar[tuple[str, ...]] = ("critic_network",)

    state_class: ClassVar[type[ActorCriticState]] = ActorCriticState
    """The class of the state."""

    learner_class: ClassVar[type[Learner] | type[TracedLearner]] = Learner
    """What a network is trained as."""

    def __init__(
        self,
        cfg: Config,
        env: Environment,
        env_params: PyTree,
        actor_network: Network,
        critic_network: Network,
        actor_optimizer: optax.GradientTransformation,
        critic_optimizer: optax.GradientTransformation,
        other_networks: Mapping[str, Network] = MappingProxyType({}),
    ) -> None:
        self.actor_network = actor_network
        self.critic_network = critic_network
        self.actor_optimizer = actor_optimizer
        self.critic_optimizer = critic_optimizer
        networks = {"actor_network": actor_network, "critic_network": critic_network, **other_networks}
        super().__init__(cfg, env, env_params, networks)

    def _init(self, key: Key, worker: Worker) -> State:
        actor_key, critic_key = jax.random.split(key)
        actor, _ = initialize(self.actor_network, actor_key, worker.timestep)
        critic, critic_carry = initialize(self.critic_network, critic_key, worker.timestep)
        state: Any = self.state_class(
            step=jnp.zeros((), jnp.int32),
            worker=worker,
            actor=self.learner_class.create(actor, self.actor_optimizer),  # type: ignore[arg-type]
            critic=self.learner_class.create(critic, self.critic_optimizer),  # type: ignore[arg-type]
            critic_carry=critic_carry,
        )
        return state

    def acting_params(self, state: State) -> PyTree:
        return state.actor_params

    def _policy(self, state: State, explore: bool) -> Policy:
        return stochastic_policy(self.actor_network, self.acting_params(state), explore)

    def _gradient_steps(self, state: State, actor_loss: Loss, critic_loss: Loss, step: Array) -> tuple[State, Metrics]:
        """The state after a step of each network down the gradient of its loss; `step` is for schedules."""
        actor, actor_metrics, _ = gradient_step(actor_loss, state.actor, self.actor_optimizer, "actor_", step=step)
        critic, metrics, _ = gradient_step(critic_loss, state.critic, self.critic_optimizer, "critic_", step=step)
        return state.replace(actor=actor, critic=critic), {**actor_metrics, **metrics}
