"""Agents with networks of their own: each row uses the parameters of its agent, whatever the order of the rows."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import PPO, PPOConfig
from memorax.environments.environment import Environment
from memorax.environments.wrappers import AgentId
from memorax.networks import MLP, RNN, FeatureExtractor, Network, PerAgentNetwork, SpaceEncoder, heads, unroll
from memorax.testing import check_acting_equals_learning
from memorax.types import Array, PyTree, Timestep
from tests.probes import OthersCue

AGENTS = jnp.asarray([2, 0, 1, 1, 2, 1])
"""Who observes each row, in no order."""


def parts() -> tuple[nn.Module, nn.Module, nn.Module]:
    extractor = nn.Sequential([SpaceEncoder(AgentId(OthersCue()).observation_space(None)), MLP(4)])
    return FeatureExtractor(extractor), RNN(nn.GRUCell(4)), heads.Categorical(2)


def timesteps() -> Timestep:
    keys = jax.random.split(jax.random.key(1), 2)
    shape = (6, 5)
    agent_id = jnp.broadcast_to(jax.nn.one_hot(AGENTS, 3)[:, None], (*shape, 3))
    observation = {"observation": jax.random.normal(keys[0], (*shape, 1)), "agent_id": agent_id}
    done = jax.random.bernoulli(keys[1], 0.3, shape)
    return Timestep(observation, jnp.zeros(shape, jnp.int32), jnp.zeros(shape), done)


def test_each_row_is_run_by_the_network_of_its_agent() -> None:
    network, alone = PerAgentNetwork(*parts(), num_agents=3), Network(*parts())
    steps = timesteps()
    carry = network.initialize_carry(jax.random.key(0), jax.tree.map(lambda x: x[:, 0], steps))
    inputs = (steps.observation, steps.action, steps.reward, steps.done, carry)
    params = jax.jit(network.init)(jax.random.key(2), *inputs)
    shapes = jax.eval_shape(alone.init, jax.random.key(2), *inputs)
    assert jax.tree.map(lambda x: x.shape[1:], params) == jax.tree.map(lambda x: x.shape, shapes)
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 3]
    assert all((np.asarray(leaf[0]) != np.asarray(leaf[1])).any() for leaf in kernels)

    @jax.jit
    def run(params: PyTree) -> tuple[PyTree, Array]:
        carry_after, policy = unroll(network, params, steps, carry)
        return carry_after, policy.logits

    carry_after, logits = run(params)
    for row, agent in enumerate(AGENTS.tolist()):
        own = jax.tree.map(lambda x, i=agent: x[i], params)
        one = jax.tree.map(lambda x, i=row: x[i : i + 1], (steps, carry))
        expected_carry, policy = unroll(alone, own, *one)
        np.testing.assert_allclose(logits[row], policy.logits[0], atol=1e-6)
        for found, expected in zip(jax.tree.leaves(carry_after), jax.tree.leaves(expected_carry), strict=True):
            np.testing.assert_allclose(found[row], expected[0], atol=1e-6)

    gradient = jax.jit(jax.grad(lambda params: jnp.sum(run(params)[1][1] ** 2)))(params)  # of a row of agent 0
    moved = [bool(jnp.any(jnp.stack([jnp.any(leaf[i] != 0) for leaf in jax.tree.leaves(gradient)]))) for i in range(3)]
    assert moved == [True, False, False]


def make_agent(env: Environment, num_agents: int = 2) -> PPO:
    def make_network(head: nn.Module) -> Network:
        extractor = nn.Sequential([SpaceEncoder(env.observation_space(None)), MLP(4)])
        return PerAgentNetwork(FeatureExtractor(extractor), RNN(nn.GRUCell(4)), head, num_agents=num_agents)

    cfg = PPOConfig(num_envs=2, num_steps=6, num_minibatches=2, update_epochs=1)
    return PPO.build(cfg, env, None, make_network, optax.adam(1e-3))


def test_it_acts_as_it_learns() -> None:
    agent = make_agent(AgentId(OthersCue(delay=2)))
    check_acting_equals_learning(agent)
    key, state = agent.init(jax.random.key(0))
    key, after, metrics = agent.train(key, state, 12, keep=lambda transition, metrics: metrics)
    assert all(bool(jnp.isfinite(value).all()) for value in metrics.values())
    pairs = zip(jax.tree.leaves(agent.acting_params(state)), jax.tree.leaves(agent.acting_params(after)), strict=True)
    assert all((np.asarray(x) != np.asarray(y)).reshape(2, -1).any(axis=1).all() for x, y in pairs if x.ndim == 3)


def test_it_must_be_told_who_observes() -> None:
    with pytest.raises(ValueError, match=r"^PerAgentNetwork needs to see which agent observes: .* agent_id=True"):
        make_agent(OthersCue())
    with pytest.raises(ValueError, match=r"^num_agents \(3\) of PerAgentNetwork must be that of the environment, 2"):
        make_agent(AgentId(OthersCue()), num_agents=3)
