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
from memorax.testing import check_close
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import ActionTimesObservation, EndlessReward, Probe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
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
    return int(optax.tree.get(state.actor.optimizer_state, "count"))


@pytest.mark.parametrize(("target_kl", "epochs"), [(None, 3), (1e9, 3), (1e-9, 1)])
def test_target_kl_stops_further_epochs(target_kl: float | None, epochs: int) -> None:
    cfg = PPOConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=3, target_kl=target_kl)
    agent = make_agent("ppo", ActionTimesObservation(), None, TORSOS["mlp"](FEATURES), cfg)
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
    learned = (state.actor_params, state.critic_params, state.actor.optimizer_state)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(learned))


def test_every_step_has_a_gradient_and_none_crosses_the_burn_in() -> None:
    """The loss with a burn-in is that of its head and of its tail, each a sequence of its own."""
    fields = {"num_envs": 4, "num_steps": 8, "num_minibatches": 1, "normalize_advantage": False, "ent_coef": 0.0}
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["gru"](FEATURES), PPOConfig(**fields, burn_in=3))
    without = make_agent("ppo", EndlessReward(), None, TORSOS["gru"](FEATURES), PPOConfig(**fields))
    key, state = agent.init(jax.random.key(0))
    state, trajectory = agent.act(key, state)
    noise = jax.random.normal(key, trajectory.reward.shape)
    carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
    log_prob = trajectory.extras["log_prob"]
    steps = (trajectory.timesteps, trajectory.action, log_prob, noise, noise, noise + 1, None)
    head, tail = (jax.tree.map(lambda x, part=part: x[:, part], steps) for part in (slice(0, 3), slice(3, None)))
    after, _ = unroll(agent.actor_network, state.actor_params, head[0], carry)

    def gradient(agent, steps, carry):
        batch = Minibatch(*steps, carry, state.critic_carry)
        return jax.grad(lambda params: agent._actor_loss(params, batch, 0.0)[0])(state.actor_params)

    whole, early, late = gradient(agent, steps, carry), gradient(without, head, carry), gradient(without, tail, after)
    for x, y, z in zip(*map(jax.tree.leaves, (whole, early, late)), strict=True):
        check_close(8 * x, 3 * y + 5 * z)
    by_log_prob = jax.grad(
        lambda log_prob: agent._actor_loss(
            state.actor_params,
            Minibatch(*steps[:2], log_prob, *steps[3:], carry, state.critic_carry),
            0.0,
        )[0]
    )(log_prob)
    assert (by_log_prob != 0).all()


def test_minibatches_of_single_steps_where_nothing_is_remembered() -> None:
    """One environment and many minibatches suit a memoryless agent, whose steps are shuffled one by one."""
    cfg = PPOConfig(num_envs=1, num_steps=32, num_minibatches=8, update_epochs=1)
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES), cfg)
    _, state, _ = agent.train(*agent.init(jax.random.key(0)), 1)
    assert updates(state) == 8
    with pytest.raises(ValueError) as error:
        make_agent("ppo", EndlessReward(), None, TORSOS["gru"](FEATURES), cfg)
    assert str(error.value) == (
        "num_envs (1) must be divisible by num_minibatches (8): "
        "a minibatch is a set of whole sequences, here of 32 steps"
    )


def test_a_minibatch_of_one_step_has_no_normalized_advantage() -> None:
    cfg = PPOConfig(num_envs=4, num_steps=1, num_minibatches=4)
    with pytest.raises(ValueError, match=r"num_minibatches \(4\) leaves a minibatch a single step"):
        make_agent("ppo", EndlessReward(), None, TORSOS["gru"](FEATURES), cfg)
    make_agent(
        "ppo", EndlessReward(), None, TORSOS["gru"](FEATURES), dataclasses.replace(cfg, normalize_advantage=False)
    )


@dataclass(frozen=True)
class NaNObservation(Probe):
    """Shows NaN at the fourth step of some episodes."""

    def observe(self, time, cue, previous):
        return jnp.where((time == 3) & (cue > 0), jnp.nan, 1.0)[None]

    def outcome(self, time, cue, previous, action):
        return jnp.ones(()), time == 20, jnp.asarray(False)


def test_an_update_that_is_skipped_does_not_end_the_epochs() -> None:
    cfg = PPOConfig(num_envs=8, num_steps=8, num_minibatches=8, update_epochs=4)
    agent = make_agent("ppo", NaNObservation(), None, TORSOS["gru"](FEATURES), cfg)
    _, state, transitions = agent.train(*agent.init(jax.random.key(0)), 1)
    clean = int(jnp.isfinite(transitions.observation).all(axis=(1, 2)).sum())
    assert 0 < clean < 8
    assert updates(state) == 4 * clean


def test_the_weight_of_the_entropy_falls_linearly() -> None:
    cfg = PPOConfig(num_envs=4, num_steps=8, num_minibatches=1, ent_coef=0.1, ent_coef_end=0.0, ent_coef_steps=64)
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES), cfg)
    _, state = agent.init(jax.random.key(0))
    weights = [agent.ent_coef_schedule(agent.steps_before(state.replace(step=jnp.asarray(n)))) for n in (32, 64, 320)]
    np.testing.assert_allclose(weights, [0.1, 0.05, 0.0], atol=1e-7)


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
    batch = Minibatch(trajectory.timesteps, trajectory.action, *arrays, None, carry, state.critic_carry)
    ratio = np.exp(np.asarray(policy.log_prob(trajectory.action), np.float64) - old_log_prob)
    normal = (advantage - advantage.mean()) / advantage.std()
    objective = np.minimum(ratio * normal, np.clip(ratio, 0.8, 1.2) * normal).mean()
    entropy = np.asarray(policy.entropy(), np.float64).mean()
    loss, (metrics, _) = agent._actor_loss(state.actor_params, batch, cfg.ent_coef)
    np.testing.assert_allclose(loss, -objective - cfg.ent_coef * entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["clip_fraction"], (np.abs(ratio - 1) > 0.2).mean(), rtol=1e-6)
    clipped = old_value + np.clip(np.asarray(value, np.float64) - old_value, -0.2, 0.2)
    errors = np.maximum((np.asarray(value, np.float64) - target) ** 2, (clipped - target) ** 2)
    np.testing.assert_allclose(
        agent._critic_loss(state.critic_params, batch)[0], cfg.vf_coef * 0.5 * errors.mean(), rtol=1e-5
    )
