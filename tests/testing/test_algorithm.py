"""Algorithms with one mistake each that `check_algorithm` names: what goes together, what is kept, how it acts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from memorax import testing
from memorax.algorithms import ALGORITHMS, DQN, IPPO, PPO, SAC, ac_lambda, q_learning
from memorax.algorithms.ac_lambda import ACLambda
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box
from memorax.learning import bootstrap, returns
from memorax.learning import q_learning as q_targets
from memorax.learning.exploration import epsilon_greedy_policy
from memorax.networks import MLP, FeatureExtractor, Network, SequenceModelWrapper
from memorax.networks.encoders import SpaceEncoder
from memorax.networks.network import unroll_step
from memorax.types import Trajectory
from tests.catalogue import CONFIGS, leaves_as_vector
from tests.probes import CueRecall, GoesOut, MaskedActions
from tests.testing.test_learning import small_agent

SLOW_TARGET = dataclasses.replace(CONFIGS["dqn"], target_update_period=5)
ACTED_ON = "what is learned from is what was acted on: .* changes more of what"


def prepared(edit: Callable[[Any], Any]) -> type[PPO]:
    """PPO that learns from other minibatches: `edit(batch) -> batch`."""

    class PreparesOther(PPO):
        def _prepare(self, state: Any, trajectory: Trajectory) -> Any:
            after, batch = super()._prepare(state, trajectory)
            return after, edit(batch)

    return PreparesOther


def shifted(tree: Any, shift: int, axis: int) -> Any:
    return jax.tree.map(lambda x: jnp.roll(x, shift, axis=axis), tree)


class CriticSeesTheNext(PPO):
    """The critic learns, and is bootstrapped, from observations one step early; the actor from its own."""

    def _early(self, timesteps: Any) -> Any:
        return timesteps.replace(observation=shifted(timesteps.observation, -1, 1))

    def _prepare(self, state: Any, trajectory: Trajectory) -> Any:
        early = trajectory.replace(timesteps=self._early(trajectory.timesteps))
        after, batch = super()._prepare(state, early)
        return after, batch.replace(timesteps=super()._prepare(state, trajectory)[1].timesteps)

    def _critic_loss(self, params: Any, batch: Any) -> Any:
        return super()._critic_loss(params, batch.replace(timesteps=self._early(batch.timesteps)))


class FreshOptimizer(PPO):
    """Its optimizers know nothing of the updates before."""

    def _update(self, state: Any, *rest: Any) -> Any:
        actor = state.actor.replace(optimizer_state=self.actor_optimizer.init(state.actor.params))
        critic = state.critic.replace(optimizer_state=self.critic_optimizer.init(state.critic.params))
        return super()._update(state.replace(actor=actor, critic=critic), *rest)


class TargetUnused(DQN):
    def _loss(self, params: Any, target_params: Any, batch: Any) -> Any:
        return super()._loss(params, jax.lax.stop_gradient(params), batch)


class SACTargetUnused(SAC):
    def _losses(self, key: Any, variables: Any, target_params: Any, batch: Any) -> Any:
        return super()._losses(key, variables, jax.lax.stop_gradient(variables["critic"]), batch)


class ActsWithTarget(DQN):
    def _policy(self, state: Any, explore: bool) -> Any:
        def epsilons(batch_size: int) -> Any:
            return self._epsilons(state.step, batch_size) if explore else 0.0

        return epsilon_greedy_policy(self.q_network, state.target_params, epsilons)


class IgnoresTheMask(DQN):
    def _loss(self, params: Any, target_params: Any, batch: Any) -> Any:
        timesteps = batch.steps.timesteps
        allowed = jnp.ones_like(timesteps.observation["action_mask"])
        timesteps = timesteps.replace(observation={**timesteps.observation, "action_mask": allowed})
        return super()._loss(params, target_params, batch.replace(steps=batch.steps.replace(timesteps=timesteps)))


class BufferStopsWhenFull(DQN):
    def _store(self, state: Any, trajectory: Trajectory) -> Any:
        after = super()._store(state, trajectory)
        keep = state.step > self.cfg.buffer_size // 2
        return after.replace(buffer=jax.tree.map(lambda x, y: jnp.where(keep, x, y), state.buffer, after.buffer))


def without_info(name: str) -> Callable[[Any, Trajectory], Trajectory]:
    return lambda state, trajectory: trajectory.replace(info={k: v for k, v in trajectory.info.items() if k != name})


class IgnoresActive(IPPO):
    def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
        return super()._learn(key, state, without_info("active")(state, trajectory))


class IgnoresWentOut(IPPO):
    def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
        return super()._learn(key, state, without_info("went_out")(state, trajectory))


WRONG: dict[str, tuple[Any, str, Any, Environment, str]] = {
    "ppo_target_late": (
        prepared(lambda batch: batch.replace(target=shifted(batch.target, 1, 1))),
        "gru",
        CONFIGS["ppo"],
        CueRecall(delay=3),
        f"{ACTED_ON} .critic learns",
    ),
    "ppo_critic_sees_the_next": (
        CriticSeesTheNext,
        "gru",
        CONFIGS["ppo"],
        CueRecall(delay=3),
        f"{ACTED_ON} .critic learns",
    ),
    "ppo_advantage_of_another_row": (
        prepared(lambda batch: batch.replace(advantage=shifted(batch.advantage, 1, 0))),
        "mlp",
        CONFIGS["ppo"],
        CueRecall(delay=3),
        f"{ACTED_ON} .actor learns",
    ),
    "ppo_log_prob_zero": (
        prepared(lambda batch: batch.replace(log_prob=jnp.zeros_like(batch.log_prob))),
        "mlp",
        CONFIGS["ppo"],
        CueRecall(delay=3),
        "recorded log-probabilities are learned from",
    ),
    "ppo_fresh_optimizer": (
        FreshOptimizer,
        "mlp",
        CONFIGS["ppo"],
        CueRecall(delay=3),
        "the optimizer's state is learned with: that of the beginning in .actor",
    ),
    "dqn_target_unused": (
        TargetUnused,
        "mlp",
        SLOW_TARGET,
        CueRecall(delay=3),
        "copies of parameters are used: other numbers in target_params",
    ),
    "sac_target_unused": (
        SACTargetUnused,
        "mlp",
        CONFIGS["sac"],
        CueRecall(delay=3),
        "copies of parameters are used: other numbers in target_params",
    ),
    "dqn_ignores_the_mask": (
        IgnoresTheMask,
        "mlp",
        CONFIGS["dqn"],
        MaskedActions(),
        "what is learned is what was allowed",
    ),
    "dqn_buffer_stops": (
        BufferStopsWhenFull,
        "mlp",
        CONFIGS["dqn"],
        CueRecall(delay=3),
        "a full replay buffer is written over: 33 iterations on",
    ),
    "ippo_ignores_active": (
        IgnoresActive,
        "gru",
        CONFIGS["ippo"],
        GoesOut(),
        "nothing is learned from agents that are out",
    ),
    "ippo_ignores_went_out": (
        IgnoresWentOut,
        "gru",
        CONFIGS["ippo"],
        GoesOut(),
        "no return goes on where an agent goes out",
    ),
}

FAST = ("ppo_target_late", "ppo_fresh_optimizer", "dqn_target_unused", "ippo_ignores_went_out")
"""One of each kind; the others break the same promises."""


@pytest.mark.parametrize("name", [x if x in FAST else pytest.param(x, marks=pytest.mark.slow) for x in WRONG])
def test_a_mistake_is_named(name: str) -> None:
    kind, torso, cfg, env, truth = WRONG[name]
    with pytest.raises(AssertionError, match=truth):
        testing.check_learning(small_agent(kind, torso, cfg, env), num_iterations=300)


GAE = returns.generalized_advantage_estimate


def twice(r: Any, v: Any, next_v: Any, discount: Any, done: Any, decay: Any) -> Any:
    return GAE(r, v, next_v, discount * discount, done, decay)


def not_in_the_bootstrap(r: Any, v: Any, next_v: Any, discount: Any, done: Any, decay: Any) -> Any:
    return returns._backward_sum(r + jnp.where(discount == 0, 0.0, next_v) - v, discount * decay, done)


def not_in_the_trace(r: Any, v: Any, next_v: Any, discount: Any, done: Any, decay: Any) -> Any:
    return returns._backward_sum(r + discount * next_v - v, (discount > 0) * decay, done)


def a_step_late(r: Any, v: Any, next_v: Any, discount: Any, done: Any, decay: Any) -> Any:
    late = jnp.concatenate([discount[:1], discount[:-1]])
    return returns._backward_sum(r + late * next_v - v, late * decay, done)


def not_at_the_end(r: Any, v: Any, next_v: Any, discount: Any, done: Any, decay: Any) -> Any:
    return GAE(r, v, next_v.at[-1].set(jnp.where(done[-1], next_v[-1], 0.0)), discount, done, decay)


ONCE = "the discount counts once for each step: .* times as much"
DISCOUNTS = {
    twice: ONCE,
    not_in_the_bootstrap: ONCE,
    not_in_the_trace: ONCE,
    a_step_late: "the discount counts where an episode goes on: where all steps terminate but step 7 of 8",
    not_at_the_end: "the last step of a rollout is bootstrapped from",
}


@pytest.mark.parametrize(
    "wrong", [x if x in (twice, a_step_late) else pytest.param(x, marks=pytest.mark.slow) for x in DISCOUNTS]
)
def test_a_discount_counted_wrongly_is_named(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "generalized_advantage_estimate", wrong)
    with pytest.raises(AssertionError, match=DISCOUNTS[wrong]):
        testing.check_learning(small_agent(PPO, "mlp", CONFIGS["ppo"], CueRecall(delay=3)))


@pytest.mark.slow
def test_a_discount_that_is_only_in_the_trace_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def undiscounted(trajectory: Trajectory, value: Any, next_value: Any, gamma: Any) -> Any:
        return trajectory.reward[0, 0] + jnp.where(trajectory.terminated[0, 0], 0.0, next_value) - value

    monkeypatch.setattr(ac_lambda, "temporal_difference", undiscounted)
    agent = small_agent(ACLambda, "gru", CONFIGS["ac_lambda"], CueRecall(delay=3))
    with pytest.raises(AssertionError, match="the discount counts where an episode goes on: after a rollout in which"):
        testing.check_learning(agent)


@pytest.mark.slow
def test_terminations_of_the_step_before_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = q_targets.n_step_targets

    def of_the_step_before(rewards: Any, terminated: Any, *rest: Any) -> Any:
        return right(rewards, jnp.concatenate([jnp.zeros_like(terminated[:1]), terminated[:-1]]), *rest)

    monkeypatch.setattr(q_targets, "n_step_targets", of_the_step_before)
    with pytest.raises(AssertionError, match="no return crosses an end"):
        testing.check_learning(small_agent(DQN, "gru", CONFIGS["dqn"], CueRecall(delay=3)))


@pytest.mark.parametrize("name", ["dqn", pytest.param("r2d2", marks=pytest.mark.slow)])
def test_values_of_the_step_before_the_successor_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = q_targets.n_step_targets

    def of_the_step_before(*arguments: Any) -> Any:
        targets = right(*arguments)
        return targets._replace(successor=jnp.maximum(targets.successor - 1, 0))

    monkeypatch.setattr(q_targets, "n_step_targets", of_the_step_before)
    agent = small_agent(ALGORITHMS[name][0], "mlp", CONFIGS[name], CueRecall(delay=3))
    with pytest.raises(AssertionError, match="the discount counts what followed"):
        testing.check_learning(agent)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shift"), [("action", 1), ("action", -1), ("reward", 1)])
def test_what_was_shown_before_another_step_is_named(name: str, shift: int) -> None:
    env = CueRecall(delay=3)
    shown = {"action": env.action_space(None), "reward": Box(-jnp.inf, jnp.inf, (1,))}
    extractor = FeatureExtractor(leaves_as_vector, **{f"{name}_extractor": SpaceEncoder(shown[name])})

    def make_network(head: nn.Module) -> Network:
        return Network(extractor, SequenceModelWrapper(MLP(4)), head)

    def other(batch: Any) -> Any:
        other = {name: shifted(getattr(batch.timesteps, name), shift, 1)}
        return batch.replace(timesteps=batch.timesteps.replace(**other))

    cfg = dataclasses.replace(CONFIGS["ppo"], sequence_length=8)
    right, wrong = (kind.build(cfg, env, None, make_network, optax.adam(3e-3)) for kind in (PPO, prepared(other)))
    testing.check_learning(right)
    with pytest.raises(AssertionError, match=f"what is learned from is what was acted on: .* the previous {name} at"):
        testing.check_learning(wrong)


def test_who_acts_with_its_target_network_is_named() -> None:
    with pytest.raises(AssertionError, match="the carry after acting is the carry after learning"):
        testing.check_algorithm(small_agent(ActsWithTarget, "gru", SLOW_TARGET, CueRecall(delay=3)))


def explores(chance_of: Any, action_of: Any) -> Any:
    """An epsilon-greedy policy that draws its chances and its random actions as it is told."""

    def policy_of(network: Network, params: Any, epsilon: Any) -> Any:
        def policy(key: Any, timestep: Any, carry: Any) -> Any:
            carry, output = unroll_step(network, params, timestep, carry)
            q_values = network.head.value(output)[:, 0]
            chance, greedy = epsilon(len(q_values)), jnp.argmax(q_values, axis=-1).astype(jnp.int32)
            if isinstance(chance, float):
                return carry, greedy, {}
            keys = jax.random.split(key)
            at_random = chance_of(keys[0], greedy.shape) < chance
            return carry, jnp.where(at_random, action_of(keys[1], greedy.shape, q_values.shape[-1]), greedy), {}

        return policy

    return policy_of


ONE_FOR_ALL = explores(
    lambda key, shape: jax.random.uniform(key), lambda key, shape, number: jax.random.randint(key, (), 0, number)
)
ANY_ACTION = explores(jax.random.uniform, lambda key, shape, number: jax.random.randint(key, shape, 0, number))


@pytest.mark.parametrize(
    ("policy", "env", "truth"),
    [
        (ONE_FOR_ALL, CueRecall(delay=3), "each row draws its own actions"),
        pytest.param(ANY_ACTION, MaskedActions(), "actions are those that are allowed: in tr", marks=pytest.mark.slow),
    ],
)
def test_a_mistake_of_exploration_is_named(
    policy: Any, env: Environment, truth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(q_learning, "epsilon_greedy_policy", policy)
    with pytest.raises(AssertionError, match=truth):
        testing.check_algorithm(small_agent(DQN, "mlp", CONFIGS["dqn"], env))
