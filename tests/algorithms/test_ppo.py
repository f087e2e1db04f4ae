"""What is PPO's own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import PPO, PPOConfig
from memorax.algorithms.ppo import Minibatch
from memorax.environments.wrappers import GlobalState
from memorax.networks import TORSOS, heads, unroll
from memorax.testing import check_close
from tests.algorithms import reference
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import ActionTimesObservation, EndlessReward, GoesOut, Probe


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


def test_a_distribution_of_returns_has_no_value_to_clip() -> None:
    cfg = PPOConfig(num_envs=4, num_steps=8, num_minibatches=2, clip_vloss=True)
    agent = make_agent("ppo", ActionTimesObservation(), None, TORSOS["mlp"](FEATURES), cfg)
    network = agent.critic_network.clone(head=heads.VNetwork(heads.HLGauss()))
    with pytest.raises(ValueError, match=r"^clip_vloss \(True\) must be left out: HLGauss of the critic"):
        PPO(cfg, agent.env, None, agent.actor_network, network, agent.actor_optimizer, agent.critic_optimizer)


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

    @jax.jit
    def gradients(key, state):
        state, trajectory = agent.act(key, state)
        noise = jax.random.normal(key, trajectory.reward.shape)
        carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
        steps = (trajectory.timesteps, trajectory.action, trajectory.extras["log_prob"], noise, noise, noise + 1, None)
        head, tail = (jax.tree.map(lambda x, part=part: x[:, part], steps) for part in (slice(0, 3), slice(3, None)))
        after, _ = unroll(agent.actor_network, state.actor_params, head[0], carry)

        def loss(params, log_prob, agent, steps, carry):
            batch = Minibatch(*steps[:2], log_prob, *steps[3:], carry, state.critic_carry)
            return agent._actor_loss(params, batch, 0.0)[0]

        def gradient(agent, steps, carry):
            return jax.grad(loss, argnums=(0, 1))(state.actor_params, steps[2], agent, steps, carry)

        return gradient(agent, steps, carry), gradient(without, head, carry)[0], gradient(without, tail, after)[0]

    (whole, by_log_prob), early, late = jax.device_get(gradients(*agent.init(jax.random.key(0))))
    for x, y, z in zip(*map(jax.tree.leaves, (whole, early, late)), strict=True):
        check_close(8 * x, 3 * y + 5 * z)
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


@pytest.mark.parametrize("size", [1, 4])
def test_a_minibatch_of_one_step_has_no_normalized_advantage(size: int) -> None:
    cfg = PPOConfig(num_envs=size, num_steps=1, num_minibatches=size)
    message = rf"^num_minibatches \({size}\) leaves a minibatch a single step, .*: use more of num_envs"
    with pytest.raises(ValueError, match=message):
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


@pytest.mark.parametrize("name", ["ppo", "shared_ppo", "ippo", "mappo"])
def test_targets_losses_and_updates_are_those_of_the_paper(name: str) -> None:
    """Two epochs on a policy that has moved since it acted, of several agents with their masks."""
    cfg = dataclasses.replace(
        CONFIGS[name], num_minibatches=1, gamma=0.9, gae_lambda=0.7, clip_vloss=True, ent_coef=0.1, clip_coef=0.1
    )
    env: Any = {"ippo": GoesOut(3.0), "mappo": GlobalState(GoesOut(3.0))}.get(name, reference.Walk())
    agent = reference.small_agent(name, cfg, env)
    learners = ("learner",) if name == "shared_ppo" else ("actor", "critic")

    @jax.jit
    def learn(key: Any) -> Any:
        key, state = agent.init(key)
        state = state.replace(**{part: reference.randomized(key, getattr(state, part)) for part in learners})
        acted, trajectory = agent.act(key, state)
        log_prob = trajectory.extras["log_prob"]
        trajectory = trajectory.replace(extras={"log_prob": log_prob + 0.3 * jax.random.normal(key, log_prob.shape)})
        return state, trajectory, agent._prepare(acted, trajectory)[1], *agent._learn(key, acted, trajectory)

    state, trajectory, batch, after, metrics = jax.device_get(learn(jax.random.key(0)))
    heads = ("head/policy_head", "head/value_head") if name == "shared_ppo" else ("head", "head")
    info, seen, shape = trajectory.info, trajectory.timesteps.observation, trajectory.reward.shape
    active = info.get("active", np.ones(shape, bool))
    ended = trajectory.terminated | info.get("went_out", np.zeros(shape, bool))
    own = seen["observation"] if name == "mappo" else seen

    # Generalised advantages (Schulman et al., 2016, equation 16), which an episode's end cuts.
    old = {part: reference.named(getattr(state, part).variables) for part in learners}
    value = reference.output(old[learners[-1]], seen, heads[1])[..., 0]
    final_value = reference.output(old[learners[-1]], trajectory.final_observation, heads[1])[..., 0]
    errors = trajectory.reward + 0.9 * np.where(ended, 0, final_value) - value
    advantage = reference.backwards(errors, 0.9 * 0.7 * ~(ended | trajectory.truncated))
    advantage = np.where(active, advantage, 0)
    check_close(batch.advantage.reshape(shape), advantage)
    check_close(batch.target.reshape(shape), advantage + value)

    def policy_loss(params: reference.Params) -> tuple[float, float]:
        log_probs = reference.log_softmax(reference.output(params, own, heads[0]))
        ratio = np.exp(reference.of_action(log_probs, trajectory.action) - trajectory.extras["log_prob"])
        normal = (advantage - advantage[active].mean()) / advantage[active].std()
        loss = -np.minimum(ratio * normal, np.clip(ratio, 0.9, 1.1) * normal)[active].mean()
        return loss, -(np.exp(log_probs) * log_probs).sum(-1)[active].mean()

    def actor_loss(params: reference.Params) -> float:
        loss, entropy = policy_loss(params)
        return loss - 0.1 * entropy

    def critic_loss(params: reference.Params) -> float:
        new = reference.output(params, seen, heads[1])[..., 0]
        near, target = value + np.clip(new - value, -0.1, 0.1), advantage + value
        return 0.5 * np.maximum(0.5 * (new - target) ** 2, 0.5 * (near - target) ** 2)[active].mean()

    losses = [lambda params: actor_loss(params) + critic_loss(params)] if len(old) == 1 else [actor_loss, critic_loss]
    once = {part: reference.descend(loss, old[part]) for part, loss in zip(old, losses, strict=True)}
    twice = {part: reference.descend(loss, once[part]) for part, loss in zip(old, losses, strict=True)}
    loss, entropy = policy_loss(once[learners[0]])
    for metric, expected in {
        "policy_loss": loss,
        "entropy": entropy,
        "critic_loss": critic_loss(once[learners[-1]]),
    }.items():
        check_close(metrics[metric], expected, truth=metric)
    moved = {part: reference.named(getattr(after, part).variables) for part in learners}
    check_close(*(jax.tree.map(np.subtract, new, old) for new in (moved, twice)))
    assert 0 < metrics["clip_fraction"] < 1
    assert trajectory.terminated.any() and not (active.all() and name in ("ippo", "mappo"))
