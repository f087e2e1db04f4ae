"""What is SAC's own."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import SAC, SACConfig
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, MultiDiscrete, Space
from memorax.networks import TORSOS
from memorax.networks.network import encode_with_losses, unroll
from memorax.testing import check_close
from memorax.types import PyTree
from tests.algorithms import reference
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import ContinuousTarget, CueRecall

CFG = dataclasses.replace(CONFIGS["sac"], burn_in=2, temperature=0.2)


@dataclasses.dataclass(frozen=True)
class Scaled(ContinuousTarget):
    """`ContinuousTarget` for each of several numbers, in other units."""

    low: tuple[float, ...] = (-1.0, -1000.0, -0.01, 20.0)
    high: tuple[float, ...] = (1.0, 1000.0, 0.01, 30.0)

    def step_env(self, key: Any, env_state: PyTree, action: Any, params: PyTree) -> Any:
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        units = (action - 0.5 * (low + high)) / (0.5 * (high - low))
        observation, state, _, *rest = super().step_env(key, env_state, action, params)
        return observation, state, -jnp.mean(jnp.square(units - 0.5 * env_state[1])), *rest

    def action_space(self, params: PyTree) -> Space:
        return Box(np.asarray(self.low), np.asarray(self.high), (len(self.low),))


@functools.cache
def replayed(env: Environment, **fields: Any) -> tuple[SAC, Any, Any]:
    """An agent, its state and a batch with ends, unfinished episodes and whole ones."""
    agent: Any = make_agent("sac", env, None, TORSOS["gru"](FEATURES), dataclasses.replace(CFG, **fields))
    key, state = agent.init(jax.random.key(0))
    for _ in range(8):
        key, state = agent.restart(*agent.warmup(key, state, 32))
    return agent, state, jax.jit(agent.buffer.sample)(key, state.buffer)


def variables(state: Any) -> dict[str, PyTree]:
    return {name: getattr(state, name).variables for name in ("actor", "critic", "temperature")}


unroll_of = jax.jit(unroll, static_argnums=(0, 4))


def double(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_updates": 0}, "num_updates (0) must be greater than 0"),
        ({"tau": 1.5}, "tau (1.5) must lie between 0 and 1"),
        ({"temperature": 0.0}, "temperature (0.0) must be greater than 0"),
        ({"burn_in": -1}, "burn_in (-1) must not be negative"),
        ({"buffer_size": 16}, "batch_size (32) must not exceed buffer_size (16)"),
        ({"carry": "zero"}, "carry ('zero') must be 'stored', 'zeros' or 'recomputed'"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        SACConfig(**fields)
    assert str(error.value) == message


def test_several_choices_at_once_are_an_error() -> None:
    class Choices(CueRecall):
        def action_space(self, params: PyTree) -> Space:
            return MultiDiscrete((2, 3))

    with pytest.raises(ValueError, match=r"^there is no action-value head for the action space MultiDiscrete\(\(2, 3"):
        make_agent("sac", Choices(), None, TORSOS["mlp"](FEATURES))


def soft_values_of_all_actions(agent: SAC, key: Any, params: PyTree, policy: Any, timesteps: Any, carry: Any) -> Any:
    """In float64 from the definition: mean of the lower action value, and the entropy."""
    first, second = double(unroll_of(agent.critic_network, params, timesteps, carry)[1])
    logits = double(policy.logits)
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return (probs * np.minimum(first, second)).sum(-1), -(probs * np.log(probs)).sum(-1)


def soft_values_of_a_sample(agent: SAC, key: Any, params: PyTree, policy: Any, timesteps: Any, carry: Any) -> Any:
    """In float64 from the density of a squashed normal variable (appendix C of the paper)."""
    action, _ = policy.sample_and_log_prob(key)
    first, second = double(unroll_of(agent.critic_network, params, timesteps, carry, 0, (action,))[1])
    action, loc, scale = double(action), double(policy.loc), np.exp(double(policy.log_scale))
    unsquashed = np.arctanh(action)
    density = -0.5 * ((unsquashed - loc) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)
    return np.minimum(first, second), -(density - np.log(1 - action**2)).sum(-1)


@pytest.mark.parametrize(
    ("env", "soft_values", "target_entropy"),
    [
        (CueRecall(delay=4), soft_values_of_all_actions, 0.5 * math.log(2)),
        (ContinuousTarget(length=3), soft_values_of_a_sample, -1.0),
    ],
    ids=["discrete", "continuous"],
)
def test_the_losses_are_those_of_the_papers_behind_both_memories(env: Any, soft_values: Any, target_entropy: float):
    """Against a float64 transcription of Haarnoja et al. (2018) and Christodoulou (2019)."""
    agent, state, batch = replayed(env)
    steps, (actor_carry, critic_carry), burn_in = batch.steps, batch.carry, CFG.burn_in
    params = variables(state)
    target_params = jax.tree.map(lambda x: x + 0.1, params["critic"])
    key = jax.random.key(1)
    losses, (metrics, targets) = jax.jit(lambda params: agent._losses(key, params, target_params, batch))(params)

    # The carries of both networks at the first step that is learned from, and at its successor.
    @functools.partial(jax.jit, static_argnums=(0, 3))
    def behind(network: Any, params: PyTree, carry: Any, length: int) -> Any:
        return encode_with_losses(network, params, jax.tree.map(lambda x: x[:, :length], steps.timesteps), carry)[0]

    now, later = (jax.tree.map(lambda x, part=part: x[:, part], steps.timesteps) for part in (np.s_[2:-1], np.s_[3:]))
    actor, critic = params["actor"], params["critic"]
    _, policy = unroll_of(agent.actor_network, actor, now, behind(agent.actor_network, actor, actor_carry, burn_in))
    _, next_policy = unroll_of(
        agent.actor_network, actor, later, behind(agent.actor_network, actor, actor_carry, burn_in + 1)
    )
    critic_now = behind(agent.critic_network, critic, critic_carry, burn_in)
    target_later = behind(agent.critic_network, target_params, critic_carry, burn_in + 1)
    key, next_key = jax.random.split(key)
    value, entropy = soft_values(agent, key, critic, policy, now, critic_now)
    next_value, next_entropy = soft_values(agent, next_key, target_params, next_policy, later, target_later)
    action, reward, terminated = (x[:, burn_in:-1] for x in (steps.action, double(steps.reward), steps.terminated))
    target = reward + CFG.gamma * ~np.asarray(terminated) * (next_value + 0.2 * next_entropy)
    known = np.asarray(terminated | ~later.done)
    assert 0 < known.sum() < known.size
    assert 0 < np.asarray(terminated).sum() < known.sum()
    inputs = (action,) if agent.critic_network.head.takes_action else ()
    _, output = unroll_of(agent.critic_network, critic, now, critic_now, 0, inputs)
    taken = double(agent.critic_network.head.select(output, action))
    for name, expected in {
        "critic": sum(0.5 * ((half - target) ** 2)[known].mean() for half in taken),
        "actor": -(value + 0.2 * entropy).mean(),
        "temperature": math.log(0.2) * (entropy - target_entropy).mean(),
        "entropy": entropy.mean(),
        "known_targets": known.mean(),
    }.items():
        check_close((losses if name in losses else metrics)[name], expected, truth=name)
    assert int(targets) == known.sum()


class ContinuousWalk(reference.Walk):
    """The walk by a number instead of a choice."""

    def step_env(self, key: Any, env_state: PyTree, action: Any, params: PyTree) -> Any:
        return super().step_env(key, env_state, action[0], params)

    def action_space(self, params: PyTree) -> Space:
        return Box(-1.0, 1.0, (1,))


Soft = tuple[np.ndarray, np.ndarray]
"""The values of a policy's actions, and its entropy."""


def lower_of_both(params: reference.Params, seen: Any, action: Any = None) -> np.ndarray:
    return np.minimum(*(reference.output(params, seen, f"head/{half}", action) for half in ("first", "second")))


def soft_of_choices(policy: reference.Params, critic: reference.Params, seen: Any, key: Any) -> Soft:
    log_probs = reference.log_softmax(reference.output(policy, seen))
    probs = np.exp(log_probs)
    return (probs * lower_of_both(critic, seen)).sum(-1), -(probs * log_probs).sum(-1)


def soft_of_a_number(policy: reference.Params, critic: reference.Params, seen: Any, key: Any) -> Soft:
    """With the noise of the key given: the density of appendix C of the paper."""
    loc, scale = (reference.output(policy, seen, f"head/{name}") for name in ("loc", "log_std"))
    scale = np.exp(-1.5 + 3.5 * np.tanh(scale))  # between exp(-5) and exp(2)
    noise = np.float64(jax.random.normal(key, loc.shape))
    unsquashed = loc + scale * noise
    # The logarithm of 1 - tanh^2, which is 0 in any float where tanh has come to 1.
    slope = 2 * (math.log(2) - unsquashed - np.logaddexp(0, -2 * unsquashed))
    density = -0.5 * noise**2 - np.log(scale) - 0.5 * math.log(2 * math.pi) - slope
    return lower_of_both(critic, seen, np.tanh(unsquashed))[..., 0], -density.sum(-1)


@pytest.mark.parametrize(
    ("env", "soft", "target_entropy"),
    [(reference.Walk(), soft_of_choices, 0.5 * math.log(2)), (ContinuousWalk(), soft_of_a_number, -1.0)],
    ids=["discrete", "continuous"],
)
def test_an_update_is_that_of_the_papers(env: Any, soft: Any, target_entropy: float) -> None:
    cfg = dataclasses.replace(CFG, gamma=0.9, num_updates=1, tau=0.3)
    agent = reference.small_agent("sac", cfg, env)

    @jax.jit
    def learn(key: Any) -> Any:
        key, state = agent.warmup(*agent.init(key), 128)
        learners = {name: reference.randomized(key, getattr(state, name)) for name in ("actor", "critic")}
        target = reference.randomized(jax.random.key(1), state.critic).variables
        state, trajectory = agent.act(key, state.replace(**learners, target_params=target))
        sample_key, loss_key = jax.random.split(jax.random.split(key, 1)[0])
        drawn = agent.buffer.sample(sample_key, state.buffer)
        return state, drawn, jax.random.split(loss_key), *agent._learn(key, state, trajectory)

    state, drawn, keys, after, metrics = jax.device_get(learn(jax.random.key(0)))
    actor, critic, target = (
        reference.named(x) for x in (state.actor.variables, state.critic.variables, state.target_params)
    )
    steps, burn_in = drawn.steps, cfg.burn_in
    seen, following = (steps.timesteps.observation[:, part] for part in (np.s_[burn_in:-1], np.s_[burn_in + 1 :]))
    action, reward, terminated = (x[:, burn_in:-1] for x in (steps.action, steps.reward, steps.terminated))
    known = terminated | ~steps.timesteps.done[:, burn_in + 1 :]
    assert 0 < terminated.sum() < known.sum() < known.size
    value, entropy = soft(actor, target, following, keys[1])
    goal = reward + 0.9 * np.where(terminated, 0, value + 0.2 * entropy)

    def critic_loss(params: reference.Params) -> float:
        total = 0.0
        for half in ("head/first", "head/second"):
            if action.ndim == 2:
                taken = reference.of_action(reference.output(params, seen, half), action)
            else:
                taken = reference.output(params, seen, half, np.float64(action))[..., 0]
            total += (0.5 * (taken - goal) ** 2)[known].mean()
        return total

    def actor_loss(params: reference.Params) -> float:
        value, entropy = soft(params, critic, seen, keys[0])
        return -(value + 0.2 * entropy).mean()

    surplus = (soft(actor, critic, seen, keys[0])[1] - target_entropy).mean()
    for name, expected in {
        "critic_loss": critic_loss(critic),
        "actor_loss": actor_loss(actor),
        "temperature_loss": math.log(0.2) * surplus,
    }.items():
        check_close(metrics[name], expected, truth=name)
    for name, loss, old in (("actor", actor_loss, actor), ("critic", critic_loss, critic)):
        new = reference.named(getattr(after, name).variables)
        check_close(*(jax.tree.map(np.subtract, params, old) for params in (new, reference.descend(loss, old))))
    check_close(after.temperature.variables["params"]["log_alpha"], math.log(0.2) - 0.5 * surplus)
    moved = jax.tree.map(lambda new, old: 0.3 * new + 0.7 * old, reference.named(after.critic.variables), target)
    check_close(reference.named(after.target_params), moved)


def test_no_loss_reaches_the_parameters_of_another_learner() -> None:
    agent, state, batch = replayed(ContinuousTarget(length=3))
    params = variables(state)

    @jax.jit
    def gradients(params: PyTree) -> PyTree:
        return jax.jacrev(lambda params: agent._losses(jax.random.key(1), params, params["critic"], batch)[0])(params)

    for loss, by_learner in gradients(params).items():
        for learner, gradient in by_learner.items():
            moved = any(bool(jnp.any(x != 0)) for x in jax.tree.leaves(gradient))
            assert moved == (loss == learner), (loss, learner)


def test_a_target_network_that_is_not_finite_does_not_reach_steps_that_end() -> None:
    agent, state, batch = replayed(CueRecall(delay=4))
    ends = batch.replace(steps=batch.steps.replace(terminated=jnp.ones_like(batch.steps.terminated)))
    broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state.target_params)

    @jax.jit
    def critic_loss(params: PyTree) -> Any:
        return agent._losses(jax.random.key(1), params, broken, ends)[0]["critic"]

    loss, gradient = jax.value_and_grad(critic_loss)(variables(state))
    assert bool(jnp.isfinite(loss))
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient))


def test_the_carries_stored_are_those_of_the_history() -> None:
    agent: Any = make_agent("sac", CueRecall(delay=6), None, TORSOS["gru"](FEATURES), CFG)
    key, state = agent.init(jax.random.key(0))
    first = (state.worker.carry, state.critic_carry)
    key, state = agent.warmup(key, state, 4 * 4 * 5)
    chunks = jax.tree.map(lambda x: x[:, :5], state.buffer.storage.experience)
    timesteps = jax.tree.map(lambda x: x.reshape(x.shape[0], -1, *x.shape[3:]), chunks.steps.timesteps)
    networks = (agent.actor_network, agent.critic_network)
    for network, params, carry, stored in zip(
        networks, (state.actor.variables, state.critic.variables), first, chunks.carry, strict=True
    ):
        for chunk in range(5):
            at = jax.tree.map(lambda x, chunk=chunk: x[:, chunk], stored)
            expected = carry
            if chunk:
                history = jax.tree.map(lambda x, end=4 * chunk: x[:, :end], timesteps)
                expected = unroll_of(network, params, history, carry)[0]
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), at, expected)


def test_sequences_may_start_from_the_carries_of_an_episode() -> None:
    agent, state, batch = replayed(CueRecall(delay=4), carry="zeros")
    assert not jax.tree.leaves(state.buffer.storage.experience.carry), "none is kept"
    first = jax.tree.map(lambda x: x[:, 0], batch.steps.timesteps)
    expected = agent.actor_network.initialize_carry(jax.random.key(0), first)
    jax.tree.map(np.testing.assert_array_equal, agent._carries(batch), (expected, expected))


def test_sequences_may_be_whole_episodes() -> None:
    """Padding is not learned from: whatever it is, the losses are the same."""
    agent, state, batch = replayed(CueRecall(delay=4), carry="recomputed", sequence_length=8)
    valid, steps = np.asarray(batch.valid), batch.steps
    assert agent.buffer.burn_in == 0
    assert np.asarray(steps.timesteps.done[:, 0]).all()
    assert set(valid[:, :-1].sum(1)) <= {5, 3}, "whole episodes, or what a restart has left of them"
    timesteps = jax.tree.map(
        lambda x: jnp.where(jnp.expand_dims(valid, tuple(range(2, x.ndim))), x, 1), steps.timesteps
    )
    other = batch.replace(
        steps=steps.replace(
            timesteps=timesteps.replace(done=steps.timesteps.done),
            action=jnp.where(valid, steps.action, 1),
            reward=jnp.where(valid, steps.reward, 100.0),
        )
    )
    losses = jax.jit(lambda batch: agent._losses(jax.random.key(1), variables(state), state.target_params, batch)[0])
    jax.tree.map(np.testing.assert_array_equal, losses(batch), losses(other))
    assert float(jnp.abs(other.steps.reward - steps.reward).max()) > 0


def test_a_fixed_temperature_stays_and_the_buffer_is_taken_over() -> None:
    cfg = dataclasses.replace(CFG, learn_temperature=False, learning_starts=64)
    agent = make_agent("sac", CueRecall(), None, TORSOS["gru"](FEATURES), cfg)
    key, state = agent.init(jax.random.key(0))
    _, after, metrics = agent.train(key, state, 80, keep=lambda transition, metrics: metrics)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.buffer.storage))
    assert not any(x.is_deleted() for x in jax.tree.leaves((state.actor, after)))
    np.testing.assert_array_equal(np.isnan(metrics["critic_loss"]), [True, True, True, False, False])
    assert int(after.updates) == 2 * cfg.num_updates
    np.testing.assert_array_equal(after.temperature.variables["params"]["log_alpha"], np.float32(math.log(0.2)))
    assert not jnp.array_equal(
        *jax.tree.leaves((state.actor.params, after.actor.params))[:: len(jax.tree.leaves(state.actor.params))]
    )


def test_the_scale_of_actions_changes_nothing() -> None:
    cfg = dataclasses.replace(CFG, num_updates=20, learning_starts=64)

    sgd = optax.sgd(0.01)  # Adam's first steps would blow rounding up

    def train(env: Environment) -> Any:
        template: Any = make_agent("sac", env, None, TORSOS["mlp"](FEATURES), cfg)
        agent = SAC(cfg, env, None, template.actor_network, template.critic_network, sgd, sgd, sgd)
        keep = lambda transition, metrics: (transition.action, metrics)  # noqa: E731
        return agent.train(*agent.init(jax.random.key(0)), 8 * 16, keep=keep)[2]

    units = train(Scaled(low=(-1.0,) * 4, high=(1.0,) * 4))
    assert int(np.nansum(units[1]["updates"])) == 100
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), train(Scaled()), units)
