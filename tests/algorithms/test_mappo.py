"""PPO where several agents act in each environment."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from memorax.algorithms import ALGORITHMS, IPPO, MAPPO, PPO, PPOConfig
from memorax.environments.wrappers import GlobalState
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network
from memorax.testing import check_algorithm
from memorax.testing.assertions import same
from tests.catalogue import CONFIGS, FEATURES, leaves_as_vector
from tests.probes import CueRecall, GoesOut, OthersCue

CFG = PPOConfig(num_envs=4, num_steps=8, num_minibatches=2, update_epochs=2)


def network(head: Any, torso: str = "gru") -> Network:
    extractor = FeatureExtractor(nn.Sequential((leaves_as_vector, MLP(FEATURES, activation=jnp.tanh))))
    return Network(extractor, TORSOS[torso](FEATURES), head)


@pytest.mark.parametrize("algorithm", [pytest.param(IPPO, marks=pytest.mark.slow), MAPPO])
def test_the_laws_hold_where_several_agents_act(algorithm: type[PPO]) -> None:
    env = GlobalState(OthersCue()) if algorithm is MAPPO else OthersCue()
    check_algorithm(algorithm.build(CFG, env, None, network, optax.adam(1e-3)))


WITH_AGENTS = [
    pytest.param(name, marks=() if name in ("ippo", "dqn", "sac") else pytest.mark.slow)
    for name in ALGORITHMS
    if name not in ("mappo", "ac_lambda", "q_lambda")
]
"""One needs a global state, two refuse several agents; of the others one of each kind is fast."""


@pytest.mark.parametrize("name", WITH_AGENTS)
def test_what_agents_meet_after_they_went_out_changes_nothing(name: str) -> None:
    """Observations and rewards of agents that are out are 0 in one run, 100 and NaN in the others."""
    torso = "mlp" if name in ("dqn", "sac") else "gru"

    @jax.jit
    @jax.vmap
    def learned(while_out: Any) -> Any:
        make_network = functools.partial(network, torso=torso)
        agent = ALGORITHMS[name][0].build(CONFIGS[name], GoesOut(while_out), None, make_network, optax.adam(1e-2))
        key, state = agent.init(jax.random.key(0))
        first = agent.acting_params(state)
        _, after, _ = agent.train(key, state, 5 * agent.steps_per_iteration)
        learned = {
            part: x for part, x in vars(after).items() if part not in ("worker", "buffer") and "carry" not in part
        }
        return first, agent.acting_params(after), learned

    first, params, learned_of_all = jax.device_get(learned(jnp.asarray([0.0, 100.0, jnp.nan])))
    calm, loud, lost = (jax.tree.map(lambda x, i=i: x[i], learned_of_all) for i in (0, 1, 2))
    assert not same(first, params), "something is learned"
    assert same(calm, loud) and same(calm, lost)


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
