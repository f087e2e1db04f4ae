"""What is AC(lambda)'s own: credit in an episode and at its end, one direction for the actor, exact gradients."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import ACLambda, ACLambdaConfig, AlgorithmState
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box
from memorax.learning.traces import obgd
from memorax.networks import (
    MLP,
    RTRL,
    TORSOS,
    FeatureExtractor,
    Memoroid,
    Network,
    RTUCell,
    SequenceModelWrapper,
    heads,
    unroll,
)
from memorax.testing import check_close
from memorax.types import Trajectory
from tests.algorithms import reference
from tests.catalogue import FEATURES, make_agent
from tests.probes import NO, ContinuousTarget, CueRecall, OthersCue, Probe

EPISODES = 3
"""States the chain below has, one-hot: two of an episode, and one in which the next begins."""


class LinearValue(heads.VNetwork):
    """A weight for each feature, from zero."""

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return nn.Dense(1, use_bias=False, kernel_init=nn.initializers.zeros)(features)[..., 0]


class Chain(Probe):
    """Two states shown one-hot, rewards 0 and 1, then the end: a third state follows."""

    limited: bool = False

    def observe(self, time, cue, previous):
        return jax.nn.one_hot(time, EPISODES)

    def outcome(self, time, cue, previous, action):
        end = time == 1
        return (time == 1).astype(jnp.float32), NO if self.limited else end, end if self.limited else NO

    def observation_space(self, params):
        return Box(0.0, 1.0, (EPISODES,))


class LimitedChain(Chain):
    """The same, cut off instead."""

    limited = True


def linear_agent(env: Environment, trace_lambda: float, optimizer: Any = None, torso: Any = None) -> ACLambda:
    """An agent whose critic is linear in the observation."""
    torso = torso or SequenceModelWrapper(reference.Identity())
    extractor = FeatureExtractor(observation_extractor=reference.Identity())
    actor, critic = Network(extractor, torso, heads.Categorical(2)), Network(extractor, torso, LinearValue())
    optimizer = optimizer or optax.sgd(0.1)
    cfg = ACLambdaConfig(gamma=0.9, trace_lambda=trace_lambda)
    return ACLambda(cfg, env, None, actor, critic, optimizer, optimizer)


def steps(agent: ACLambda, number: int) -> tuple[list[Any], list[Trajectory]]:
    """States after each iteration, and what happened in each."""
    iteration = jax.jit(lambda key, state: _iteration(agent, key, state))
    key, state = agent.init(jax.random.key(0))
    states, trajectories = [state], []
    for step_key in jax.random.split(key, number):
        state, trajectory = iteration(step_key, states[-1])
        states.append(state)
        trajectories.append(trajectory)
    return states, trajectories


def _iteration(agent: ACLambda, key: jax.Array, state: Any) -> tuple[AlgorithmState, Trajectory]:
    state, trajectory = agent.act(key, state)
    return agent._learn(key, state, trajectory)[0], trajectory


def weights(state: Any) -> np.ndarray:
    return np.asarray(jax.tree.leaves(state.critic.learner.params)[0])[:, 0]


@pytest.mark.parametrize(("trace_lambda", "expected"), [(1.0, [0.09, 0.1]), (0.8, [0.072, 0.1]), (0.0, [0.0, 0.1])])
def test_the_last_reward_credits_what_lay_before_it(trace_lambda: float, expected: list[float]) -> None:
    states, _ = steps(linear_agent(Chain(), trace_lambda), 2)
    np.testing.assert_allclose(weights(states[2])[:2], expected, rtol=1e-5)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves((states[2].actor.trace, states[2].critic.trace)))


def test_a_time_limit_bootstraps_and_ends_the_trace() -> None:
    agent = linear_agent(LimitedChain(), 0.8)
    key, state = agent.init(jax.random.key(0))
    final = jax.tree.map(lambda x: jnp.asarray([[0.0], [0.0], [5.0]]), state.critic.learner.params)
    state = state.replace(critic=state.critic.replace(learner=state.critic.learner.replace(params=final)))
    iteration = jax.jit(lambda state: _iteration(agent, key, state)[0])
    first = iteration(state)
    second = iteration(first)
    third = iteration(second)
    error = 1 + 0.9 * 5  # the final observation is the third state, and worth 5
    np.testing.assert_allclose(weights(second)[:2], [0.72 * 0.1 * error, 0.1 * error], rtol=1e-5)
    # The next episode begins at the first state: the second has no part in what is learned there.
    np.testing.assert_allclose(weights(third)[1], weights(second)[1])


def test_errors_traces_and_updates_are_those_of_the_paper() -> None:
    """The traces z = gamma lambda z + d[log pi + c H sign(delta)] for the actor, dv for the critic; ObGD."""
    cfg = ACLambdaConfig(gamma=0.9, trace_lambda=0.8, ent_coef=0.1)
    optimizers = {"actor_optimizer": obgd(kappa=3.0), "critic_optimizer": obgd(kappa=2.0)}
    agent = reference.small_agent("ac_lambda", cfg, reference.Walk(), optimizers)

    @jax.jit
    def learn(key: Any) -> Any:
        key, state = agent.init(key)
        randomized = {
            name: getattr(state, name).replace(learner=reference.randomized(key, getattr(state, name).learner))
            for name in ("actor", "critic")
        }
        state = state.replace(**randomized)
        return state, *reference.streamed(agent, key, state, 16)

    before, after, trajectories, metrics = jax.device_get(learn(jax.random.key(1)))
    actor, critic = (reference.named(traced.variables) for traced in (before.actor, before.critic))
    first = (actor, critic)
    z_actor, z_critic = ({name: np.zeros_like(x) for name, x in params.items()} for params in first)
    for t in range(16):
        seen, final, action, reward, terminated, truncated = reference.streamed_step(trajectories, t)
        value, next_value = (reference.output(critic, x)[0] for x in (seen, final))
        delta = reward + (0.0 if terminated else 0.9 * next_value) - value
        check_close(metrics["td_error"][t], np.abs(delta))
        check_close(metrics["value"][t], value)

        def objective(params: reference.Params, seen=seen, action=action, delta=delta) -> float:
            log_probs = reference.log_softmax(reference.output(params, seen))
            return log_probs[action] - 0.1 * np.sign(delta) * (np.exp(log_probs) * log_probs).sum()

        slopes = (
            reference.gradient(objective, actor),
            reference.gradient(lambda params, seen=seen: reference.output(params, seen)[0], critic),
        )
        z_actor, z_critic = (
            {name: 0.72 * z[name] + slope[name] for name in z}
            for z, slope in zip((z_actor, z_critic), slopes, strict=True)
        )
        actor = reference.obgd_step(actor, z_actor, delta, kappa=3.0)
        critic = reference.obgd_step(critic, z_critic, delta, kappa=2.0)
        if terminated or truncated:
            z_actor, z_critic = ({name: 0.0 * x for name, x in z.items()} for z in (z_actor, z_critic))
    assert trajectories.terminated.any() and trajectories.truncated.any()
    for traced, params, old in zip((after.actor, after.critic), (actor, critic), first, strict=True):
        new = reference.named(traced.variables)
        check_close(*(jax.tree.map(np.subtract, x, old) for x in (new, params)))


def test_gradients_of_single_steps_add_up_to_those_of_backpropagation_through_the_episode() -> None:
    """With lambda = 0, frozen parameters and a recurrence under RTRL; without RTRL they do not."""
    accumulating = optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda updates, state, params=None: (
            jax.tree.map(jnp.zeros_like, updates),
            jax.tree.map(jnp.add, updates, state),
        ),
    )
    cell = RTUCell(6, r_min=0.8, activation=jnp.tanh)

    def differences(torso: nn.Module) -> list[float]:
        agent = linear_agent(CueRecall(delay=5), 0.0, accumulating, torso)
        key, state = agent.init(jax.random.key(3))
        # A value of zero would have no gradient below.
        noisy = jax.tree.map(lambda x: x + 0.5, state.critic.learner.params)
        state = state.replace(critic=state.critic.replace(learner=state.critic.learner.replace(params=noisy)))
        iteration = jax.jit(lambda key, state: _iteration(agent, key, state))
        start, trajectories = state, []
        for step_key in jax.random.split(key, 6):
            state, trajectory = iteration(step_key, state)
            trajectories.append(trajectory)
        sequence = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *[t.timesteps for t in trajectories])
        reward = jnp.concatenate([t.reward for t in trajectories], axis=1)
        whole = agent.critic_network.clone(torso=Memoroid(cell))
        variables = start.critic.variables
        if isinstance(torso, RTRL):
            variables = {"params": {**variables["params"], "torso": variables["params"]["torso"]["model"]}}
        carry = whole.torso.initialize_carry(key, (1, 1))

        def loss(variables: Any) -> jax.Array:
            value = unroll(whole, variables, sequence, carry)[1]
            successors = jnp.concatenate([value[:, 1:], jnp.zeros((1, 1))], axis=1)
            td_error = jax.lax.stop_gradient(reward + 0.9 * successors - value)
            return -jnp.sum(td_error * value)

        expected = jax.jit(jax.grad(loss))(variables)["params"]["torso"]
        got = state.critic.learner.optimizer_state["params"]["torso"]
        got = got["model"] if isinstance(torso, RTRL) else got
        assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected)) > 0.05
        return jax.tree.leaves(jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), got, expected))

    assert max(differences(RTRL(Memoroid(cell)))) < 1e-5
    assert max(differences(Memoroid(cell))) > 1e-2


def test_actions_may_be_continuous() -> None:
    agent = make_agent("ac_lambda", ContinuousTarget(), None, TORSOS["mlp"](FEATURES))
    _, _, metrics = agent.train(*agent.init(jax.random.key(0)), 20, keep=lambda transition, metrics: metrics)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(metrics))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_envs": 4}, "num_envs (4) must be 1: a streaming algorithm learns from one step of one environment"),
        ({"num_steps": 8}, "num_steps (8) must be 1: a streaming algorithm learns from one step of one environment"),
        ({"trace_lambda": 1.5}, "trace_lambda (1.5) must lie between 0 and 1"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        ACLambdaConfig(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize("algorithm", ["ac_lambda", "q_lambda"])
def test_several_agents_are_an_error(algorithm: str) -> None:
    def network(head: nn.Module) -> Network:
        return Network(FeatureExtractor(MLP(FEATURES)), SequenceModelWrapper(MLP(FEATURES)), head)

    from memorax.algorithms import ALGORITHMS

    cls, config = ALGORITHMS[algorithm]
    with pytest.raises(ValueError, match=r"\(lambda\) learns from the steps of one agent, and OthersCue has 2"):
        cls.build(config(), OthersCue(), None, network, optax.sgd(0.1))
