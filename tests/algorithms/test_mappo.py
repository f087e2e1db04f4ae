"""PPO where several agents act in each environment."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import ALGORITHMS, IPPO, MAPPO, PPO, PPOConfig
from memorax.environments.wrappers import GlobalState
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network
from memorax.testing import check_algorithm
from tests.catalogue import CONFIGS, FEATURES, leaves_as_vector
from tests.probes import CueRecall, GoesOut, OthersCue

CFG = PPOConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=2)


def network(head: Any, torso: str = "gru") -> Network:
    extractor = FeatureExtractor(nn.Sequential([leaves_as_vector, MLP(FEATURES, activation=jnp.tanh)]))
    return Network(extractor, TORSOS[torso](FEATURES), head)


@pytest.mark.parametrize("algorithm", [IPPO, MAPPO])
def test_the_laws_hold_where_several_agents_act(algorithm: type[PPO]) -> None:
    env = GlobalState(OthersCue()) if algorithm is MAPPO else OthersCue()
    check_algorithm(algorithm.build(CFG, env, None, network, optax.adam(1e-3)))


@pytest.mark.parametrize("name", ["ippo", "gradient_ppo", "impala"])
def test_what_agents_meet_after_they_went_out_changes_nothing(name: str) -> None:
    """Observations and rewards of agents that are out are 0 in one run and 100 in the other."""
    cfg = dataclasses.replace(CONFIGS[name], num_envs=4, num_steps=8)

    def learned(while_out: float) -> Any:
        agent = ALGORITHMS[name][0].build(cfg, GoesOut(while_out), None, network, optax.adam(1e-2))
        key, state = agent.init(jax.random.key(0))
        return agent.train(key, state, 3 * agent.steps_per_iteration)[1]

    calm, loud = learned(0.0), learned(100.0)
    for x, y in zip(jax.tree.leaves(calm.actor_params), jax.tree.leaves(loud.actor_params), strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(jax.tree.leaves(calm.critic_params), jax.tree.leaves(loud.critic_params), strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_step_with_which_an_agent_goes_out_is_learned_from() -> None:
    agent = IPPO.build(CFG, GoesOut(), None, network, optax.adam(1e-2))
    key, state = agent.init(jax.random.key(0))
    state, trajectory = agent.act(key, state)
    _, batch = agent._prepare(state, trajectory)
    np.testing.assert_array_equal(batch.active[0, :4], [True, True, False, False])
    np.testing.assert_array_equal(batch.active[1, :4], [True] * 4)
    # Its return ends there: one reward is left, and nothing of what follows.
    expected = trajectory.reward[0, 1] - batch.value[0, 1]
    np.testing.assert_allclose(batch.advantage[0, 1], expected, rtol=1e-5)
    np.testing.assert_array_equal(batch.advantage[0, 2:4], 0.0)


def test_only_the_critic_sees_the_global_state() -> None:
    agent = MAPPO.build(CFG, GlobalState(OthersCue()), None, network, optax.adam(1e-2))
    _, state = agent.init(jax.random.key(0))
    kernels = [
        params["params"]["feature_extractor"]["observation_extractor"]["layers_1"]["Dense_0"]["kernel"].shape[0]
        for params in (state.actor_params, state.critic_params)
    ]
    assert kernels == [1, 3], "one number of its own; and both agents' beside it"


def test_a_critic_without_a_global_state_is_an_error() -> None:
    with pytest.raises(ValueError) as error:
        MAPPO.build(CFG, CueRecall(), None, network, optax.adam(1e-2))
    assert str(error.value) == (
        "MAPPO needs observations of CueRecall with an entry 'global_state' for its critic: make it with "
        "global_state=True, or use IPPO"
    )


class TakesAnActionOfEach(OthersCue):
    """Reads the agents' actions one by one."""

    def step_agents(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        return super().step_agents(key, env_state, jnp.stack([action[0], action[1]]), params)


def test_the_check_of_types_gives_an_action_for_each_agent() -> None:
    IPPO.build(CFG, TakesAnActionOfEach(), None, network, optax.adam(1e-2))
