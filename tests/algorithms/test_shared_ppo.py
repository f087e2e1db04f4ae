"""PPO whose actor and critic share a torso."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from memorax.algorithms import SharedPPO
from memorax.networks import TORSOS, unroll
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import EndlessReward


def test_the_policy_and_the_value_are_read_off_the_same_variables() -> None:
    agent = make_agent("shared_ppo", EndlessReward(), None, TORSOS["gru"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    state, trajectory = agent.act(key, state)
    carry = jax.tree.map(lambda x: x[:, 0], trajectory.carry)
    _, both = unroll(agent.network, state.actor_params, trajectory.timesteps, carry)
    _, policy = unroll(agent.actor_network, state.actor_params, trajectory.timesteps, carry)
    _, value = unroll(agent.critic_network, state.critic_params, trajectory.timesteps, carry)
    np.testing.assert_array_equal(both.policy.logits, policy.logits)
    np.testing.assert_array_equal(both.value, value)


def test_another_head_is_an_error() -> None:
    actor = make_agent("ppo", EndlessReward(), None, TORSOS["gru"](FEATURES)).actor_network
    with pytest.raises(
        ValueError, match=r"network needs the head ActorCritic\(policy_head, value_head\), not Categorical"
    ):
        SharedPPO(CONFIGS["ppo"], EndlessReward(), None, actor, optax.adam(1e-3))
