"""Algorithms with every value head, on environments whose values are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import DQN, PPO, DQNConfig, PPOConfig
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network, heads
from memorax.networks.network import unroll
from tests import probes

GAMMA = 0.9
C51, QUANTILES, HL_GAUSS = heads.C51(21, -2.0, 2.0), heads.Quantiles(5), heads.HLGauss(21, -2.0, 2.0)
Q_HEADS = {
    "twin_dueling_c51": heads.Twin(heads.DuelingQNetwork(2, C51)),
    "dueling": heads.DuelingQNetwork(2, hidden_features=(16,), layer_norm=True),
    "c51": heads.DiscreteQNetwork(2, C51),
    "quantiles": heads.DiscreteQNetwork(2, QUANTILES),
    "hl_gauss": heads.DiscreteQNetwork(2, HL_GAUSS),
}
V_HEADS = {
    "twin": heads.Twin(heads.VNetwork()),
    "c51": heads.VNetwork(C51),
    "quantiles": heads.VNetwork(QUANTILES),
    "hl_gauss": heads.VNetwork(HL_GAUSS),
}


def cases(table, fast):
    return [pytest.param(name, marks=() if name == fast else pytest.mark.slow) for name in table]


def network(head):
    return Network(FeatureExtractor(MLP(32, activation=jnp.tanh)), TORSOS["mlp"](32), head)


def check_values(agent, network_and_params):
    """The values of `Discounting`: gamma, then 1."""
    key, state = agent.init(jax.random.key(0))
    key, state, _ = agent.train(key, state, 15_000, keep=lambda transition, metrics: ())

    @jax.jit
    def along(key, state):
        trajectory = agent.act(key, state)[1]
        network, params = network_and_params(state)
        value = network.head.value(unroll(network, params, trajectory.timesteps, ())[1])
        return trajectory.timesteps.observation[..., 0], value if value.ndim == 2 else value.max(axis=-1)

    observation, value = along(key, state)
    np.testing.assert_allclose(value, np.where(observation > 0, 1.0, GAMMA), atol=0.05)


@pytest.mark.parametrize("name", cases(Q_HEADS, "twin_dueling_c51"))
def test_dqn_learns_the_values_of_actions(name):
    cfg = DQNConfig(
        num_envs=8,
        num_steps=8,
        gamma=GAMMA,
        num_updates=4,
        learning_starts=500,
        target_update_period=50,
        sequence_length=4,
        exploration_steps=10_000,
    )
    agent = DQN(cfg, probes.Discounting(), None, network(Q_HEADS[name]), optax.adam(2e-3))
    check_values(agent, lambda state: (agent.q_network, state.params))


@pytest.mark.parametrize("name", cases(V_HEADS, "hl_gauss"))
def test_ppo_learns_the_values_of_timesteps(name):
    cfg = PPOConfig(num_envs=16, num_steps=16, gamma=GAMMA, num_minibatches=2)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3))
    networks = network(heads.Categorical(2)), network(V_HEADS[name])
    agent = PPO(cfg, probes.Discounting(), None, *networks, optimizer, optimizer)
    check_values(agent, lambda state: (agent.critic_network, state.critic_params))
