"""What is PPO's own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import PPOConfig
from memorax.algorithms.ppo import Minibatch
from memorax.networks import TORSOS, unroll
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import ActionTimesObservation, EndlessReward, Probe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"num_envs": 6, "num_minibatches": 4},
            "num_envs (6) must be divisible by num_minibatches (4): a minibatch is a set of whole sequences",
        ),
        ({"num_steps": 12, "sequence_length": 5}, "sequence_length (5) must divide num_steps (12)"),
        ({"num_steps": 12, "burn_in": 12}, "burn_in (12) must be less than the 12 steps of a sequence"),
        ({"num_envs": 0}, "num_envs (0) must be greater than 0"),
        ({"gamma": 1.5}, "gamma (1.5) must lie between 0 and 1"),
        ({"ent_coef": -0.1}, "ent_coef (-0.1) must not be negative"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        PPOConfig(**fields)
    assert str(error.value) == message


def updates(state) -> int:
    """How many steps the actor's optimiser has made."""
    return int(optax.tree.get(state.actor_optimizer_state, "count"))


@pytest.mark.parametrize(("target_kl", "epochs"), [(None, 3), (1e9, 3), (1e-9, 1)])
def test_target_kl_stops_further_epochs(target_kl: float | None, epochs: int) -> None:
    cfg = PPOConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=3, target_kl=target_kl)
    agent = make_agent("ppo", ActionTimesObservation(), None, TORSOS["gru"](FEATURES), cfg)
    _, state, _ = agent.train(*agent.init(jax.random.key(0)), 1)
    assert updates(state) == 2 * epochs


@dataclass(frozen=True)
class InfiniteReward(Probe):
    """Pays infinity now and then."""

    def outcome(self, time, cue, previous, action):
        return jnp.where((time == 3) & (cue > 0), jnp.inf, 1.0), time == 4, jnp.asarray(False)


def test_a_reward_that_is_not_finite_does_no_damage() -> None:
    agent = make_agent("ppo", InfiniteReward(), None, TORSOS["gru"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    _, state, metrics = agent.train(key, state, 256, keep=lambda transition, metrics: metrics)
    assert float(metrics["actor_skipped_updates"].max()) > 0
    learned = (state.actor_params, state.critic_params, state.actor_optimizer_state)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(learned))


def test_burn_in_steps_have_no_gradient() -> None:
    """Losses over sequences with a burn-in equal those of their tails from the carry the burn-in leaves."""
    cfg = PPOConfig(num_envs=4, num_steps=8, num_minibatches=1, burn_in=3, normalize_advantage=False)
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.init(jax.random.key(0))
    state, trajectory = agent.act(key, state)
    noise = jax.random.normal(key, trajectory.reward.shape)
    carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
    batch = Minibatch(
        trajectory.timesteps,
        trajectory.action,
        trajectory.extras["log_prob"],
        noise,
        noise,
        noise + 1,
        carry,
        state.critic_carry,
    )
    head, tail = (jax.tree.map(lambda x, s=s: x[:, s], trajectory.timesteps) for s in (slice(0, 3), slice(3, None)))
    after, _ = unroll(agent.actor_network, state.actor_params, head, carry)
    without = make_agent(
        "ppo",
        EndlessReward(),
        None,
        TORSOS["gru"](FEATURES),
        PPOConfig(num_envs=4, num_steps=8, num_minibatches=1, normalize_advantage=False),
    )
    rest = jax.tree.map(lambda x: x[:, 3:], (batch.action, batch.log_prob, batch.advantage, batch.value, batch.target))
    tail_batch = Minibatch(tail, *rest, after, state.critic_carry)
    gradient = jax.grad(lambda params: agent._actor_loss(params, batch)[0])(state.actor_params)
    expected = jax.grad(lambda params: without._actor_loss(params, tail_batch)[0])(state.actor_params)
    for x, y in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_the_losses_are_those_of_the_paper() -> None:
    """Against a float64 transcription of Schulman et al. (2017), equations 7 and 9, with clipped values."""
    cfg = dataclasses.replace(CONFIGS["ppo"], clip_vloss=True)
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.init(jax.random.key(0))
    state, trajectory = agent.act(key, state)
    rng = np.random.default_rng(0)
    shape = trajectory.reward.shape
    advantage, value_noise, ratio_noise, target = (rng.normal(size=shape) for _ in range(4))
    carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
    _, policy = unroll(agent.actor_network, state.actor_params, trajectory.timesteps, carry)
    _, value = unroll(agent.critic_network, state.critic_params, trajectory.timesteps, state.critic_carry)
    old_log_prob = np.asarray(trajectory.extras["log_prob"], np.float64) - 0.3 * ratio_noise
    old_value = np.asarray(value, np.float64) + 0.3 * value_noise
    arrays = (jnp.asarray(x, jnp.float32) for x in (old_log_prob, advantage, old_value, target))
    batch = Minibatch(trajectory.timesteps, trajectory.action, *arrays, carry, state.critic_carry)
    ratio = np.exp(np.asarray(policy.log_prob(trajectory.action), np.float64) - old_log_prob)
    normal = (advantage - advantage.mean()) / advantage.std()
    objective = np.minimum(ratio * normal, np.clip(ratio, 0.8, 1.2) * normal).mean()
    entropy = np.asarray(policy.entropy(), np.float64).mean()
    loss, metrics = agent._actor_loss(state.actor_params, batch)
    np.testing.assert_allclose(loss, -objective - cfg.ent_coef * entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["clip_fraction"], (np.abs(ratio - 1) > 0.2).mean(), rtol=1e-6)
    clipped = old_value + np.clip(np.asarray(value, np.float64) - old_value, -0.2, 0.2)
    errors = np.maximum((np.asarray(value, np.float64) - target) ** 2, (clipped - target) ** 2)
    np.testing.assert_allclose(
        agent._critic_loss(state.critic_params, batch)[0], cfg.vf_coef * 0.5 * errors.mean(), rtol=1e-5
    )
