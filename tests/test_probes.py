"""Every algorithm on environments whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import (
    ALGORITHMS,
    PPO,
    ACLambda,
    ACLambdaConfig,
    Algorithm,
    DQNConfig,
    GradientPPOConfig,
    IMPALAConfig,
    PPOConfig,
    PQNConfig,
    QLambda,
    QLambdaConfig,
    R2D2Config,
    SACConfig,
    SharedPPO,
)
from memorax.environments.environment import Environment
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network, OneHot, heads
from memorax.networks.network import unroll
from tests import probes

GAMMA = 0.9


@dataclass(frozen=True)
class Settings:
    """How an algorithm learns the probes quickly.

    Attributes:
        cfg: its hyperparameters.
        optimizer: trains each network; or one for each by name.
        patience: how many times the steps it is given that a probe names.
        fast: whether all probes belong to the fast tests, or only those in `ESSENTIAL`.
    """

    cfg: Any
    optimizer: Any
    patience: float = 1.0
    fast: bool = False


SETTINGS: dict[str, Settings] = {
    "ppo": Settings(
        PPOConfig(num_envs=16, num_steps=16, gamma=GAMMA, num_minibatches=2, ent_coef=0.003),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3)),
        fast=True,
    ),
    "shared_ppo": Settings(
        PPOConfig(num_envs=16, num_steps=16, gamma=GAMMA, num_minibatches=2, ent_coef=0.003),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3)),
        patience=4.0,
    ),
    "dqn": Settings(
        DQNConfig(
            num_envs=8,
            num_steps=8,
            gamma=GAMMA,
            num_updates=4,
            learning_starts=500,
            target_update_period=50,
            sequence_length=16,
            exploration_steps=10_000,
        ),
        optax.adam(2e-3),
        fast=True,
    ),
    "r2d2": Settings(
        R2D2Config(
            num_envs=8,
            num_steps=8,
            gamma=GAMMA,
            n_steps=2,
            rescale=False,
            num_updates=4,
            learning_starts=500,
            target_update_period=50,
            sequence_length=16,
            burn_in=8,
            period=8,
        ),
        optax.adam(2e-3),
        patience=1.5,
    ),
    "pqn": Settings(
        PQNConfig(num_envs=16, num_steps=16, gamma=GAMMA, num_minibatches=2, exploration_steps=8_000),
        optax.adam(2e-3),
    ),
    "sac": Settings(
        SACConfig(
            num_envs=8,
            num_steps=8,
            gamma=GAMMA,
            num_updates=2,
            learning_starts=500,
            tau=0.1,
            temperature=0.02,
            learn_temperature=False,
            batch_size=16,
        ),
        optax.adam(4e-3),
        patience=0.75,
    ),
    "gradient_ppo": Settings(
        GradientPPOConfig(num_envs=16, num_steps=16, gamma=GAMMA, num_minibatches=2, ent_coef=0.003),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3)),
    ),
    "impala": Settings(
        IMPALAConfig(num_envs=16, num_steps=16, gamma=GAMMA, num_minibatches=2, update_epochs=2, ent_coef=0.003),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3)),
    ),
    "ac_lambda": Settings(
        ACLambdaConfig(gamma=GAMMA),
        {name: make() for name, make in ACLambda.default_optimizers.items()},
        patience=0.5,
    ),
    "q_lambda": Settings(
        QLambdaConfig(gamma=GAMMA, exploration_steps=2_000),
        {name: make() for name, make in QLambda.default_optimizers.items()},
        patience=0.5,
    ),
}
"""Every algorithm of discrete actions that learns a value for one agent."""

STREAMING = ("ac_lambda", "q_lambda")
"""What learns a memory only from gradients that are carried along (see `tests/algorithms/test_ac_lambda.py`)."""

ESSENTIAL = ("discounting",)
"""The probes in the fast tests of every algorithm; where `fast`, all of them are."""


def over_algorithms(probe: str, leave_out: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Run a probe for every algorithm but some."""
    cases = []
    for name, settings in SETTINGS.items():
        marks = () if settings.fast or probe in ESSENTIAL else (pytest.mark.slow,)
        if name not in leave_out:
            cases.append(pytest.param(name, marks=marks))
    return pytest.mark.parametrize("algorithm", cases)


def make(algorithm: str, env: Environment, torso: str, previous_action: bool = False) -> Algorithm:
    def network(head: Any) -> Network:
        extractor = FeatureExtractor(
            observation_extractor=MLP(32, activation=jnp.tanh), action_extractor=OneHot(2) if previous_action else None
        )
        return Network(extractor, TORSOS[torso](32), narrow(head))

    settings = SETTINGS[algorithm]
    return ALGORITHMS[algorithm][0].build(settings.cfg, env, None, network, settings.optimizer)


def narrow(head: Any) -> Any:
    """Twin values with one small hidden layer; any other head as it is."""
    return heads.Twin(head.head.clone(hidden_features=(32,))) if isinstance(head, heads.Twin) else head


def train(agent: Algorithm, num_steps: int) -> tuple[jax.Array, Any]:
    patience = next((settings.patience for settings in SETTINGS.values() if settings.cfg is agent.cfg), 1.0)
    key, state = agent.init(jax.random.key(0))
    key, state, _ = agent.train(key, state, int(patience * num_steps), keep=lambda transition, metrics: ())
    return key, state


def values(agent: Algorithm, key: jax.Array, state: Any) -> tuple[Any, np.ndarray]:
    """A fresh rollout and the values along it: of the critic, or of the greedy action."""

    @jax.jit
    def along(key: jax.Array, state: Any) -> tuple[Any, jax.Array]:
        environments = agent.env.vectorize(agent.cfg.num_envs)
        _, trajectory = agent.play(key, state, environments, state.worker, 16, deterministic=False)
        if "critic_network" in agent.networks:
            critic = state.learner if isinstance(agent, SharedPPO) else state.critic
            network, params, carry = agent.networks["critic_network"], critic.variables, state.critic_carry
        else:
            network, params, carry = agent.networks["q_network"], agent.acting_params(state), state.worker.carry
        _, output = unroll(network, params, trajectory.timesteps, carry)
        value = network.head.value(output)
        return trajectory, value if value.ndim == 2 else value.max(axis=-1)

    return jax.device_get(along(key, state))


def mean_return(agent: Algorithm, key: jax.Array, state: Any) -> float:
    _, transitions = agent.evaluate(key, state, 8 * 64)
    info = transitions.info
    return float((info["returned_episode_returns"] * info["returned_episode"]).sum() / info["returned_episode"].sum())


@over_algorithms("constant_value")
def test_constant_value(algorithm: str) -> None:
    agent = make(algorithm, probes.ConstantValue(), "mlp")
    _, value = values(agent, *train(agent, 10_000))
    np.testing.assert_allclose(value, 1.0, atol=0.02)


@over_algorithms("value_of_the_observation")
def test_value_of_the_observation(algorithm: str) -> None:
    agent = make(algorithm, probes.ObservationValue(), "mlp")
    trajectory, value = values(agent, *train(agent, 10_000))
    np.testing.assert_allclose(value, trajectory.timesteps.observation[..., 0], atol=0.05)


@over_algorithms("discounting")
def test_discounting(algorithm: str) -> None:
    agent = make(algorithm, probes.Discounting(), "mlp")
    trajectory, value = values(agent, *train(agent, 15_000))
    np.testing.assert_allclose(value, np.where(trajectory.timesteps.observation[..., 0] > 0, 1.0, GAMMA), atol=0.05)


@over_algorithms("action_matters")
def test_action_matters(algorithm: str) -> None:
    agent = make(algorithm, probes.ActionMatters(), "mlp")
    assert mean_return(agent, *train(agent, 10_000)) == 1.0


@over_algorithms("action_depends_on_the_observation")
def test_action_depends_on_the_observation(algorithm: str) -> None:
    agent = make(algorithm, probes.ActionTimesObservation(), "mlp")
    assert mean_return(agent, *train(agent, 10_000)) == 1.0


@over_algorithms("time_limit")
@pytest.mark.parametrize("torso", [pytest.param("mlp", marks=pytest.mark.slow), "gru"])
def test_a_time_limit_is_not_a_failure(algorithm: str, torso: str) -> None:
    agent = make(algorithm, probes.EndlessReward(), torso)
    _, value = values(agent, *train(agent, 40_000))
    np.testing.assert_allclose(value, 1 / (1 - GAMMA), rtol=0.03)


@over_algorithms("two_episodes", leave_out=STREAMING)
def test_two_episodes_back_to_back(algorithm: str) -> None:
    agent = make(algorithm, probes.TwoEpisodes(), "gru")
    trajectory, value = values(agent, *train(agent, 40_000))
    observation, reward = np.asarray(trajectory.timesteps.observation[..., 0]), np.asarray(trajectory.reward)
    # From the start of an episode on: the rollout may have begun in the middle of one.
    expected = np.where(observation != 0, GAMMA * observation, reward)
    np.testing.assert_allclose(value, expected, atol=0.1)


@over_algorithms("cue_recall", leave_out=STREAMING)
def test_cue_recall_takes_a_memory(algorithm: str) -> None:
    agent = make(algorithm, probes.CueRecall(), "gru")
    assert mean_return(agent, *train(agent, 60_000)) >= 0.9


@over_algorithms("cue_recall_without_memory")
def test_cue_recall_is_beyond_the_memoryless(algorithm: str) -> None:
    agent = make(algorithm, probes.CueRecall(), "mlp")
    assert mean_return(agent, *train(agent, 20_000)) < 0.5


@over_algorithms("previous_action_needed")
def test_previous_action_needed(algorithm: str) -> None:
    agent = make(algorithm, probes.PreviousActionNeeded(), "mlp", previous_action=True)
    assert mean_return(agent, *train(agent, 60_000)) >= 7.5


def test_continuous_action() -> None:
    def network(head: Any) -> Network:
        return Network(FeatureExtractor(observation_extractor=MLP(32)), TORSOS["mlp"](32), head)

    env = probes.ContinuousTarget()
    for head in (heads.Gaussian(1, initial_log_std=-1.0), heads.SquashedGaussian(1, initial_log_std=-1.0)):
        cfg = PPOConfig(num_envs=8, num_steps=32, num_minibatches=2, ent_coef=0.0)
        # The policy narrows as it learns: steps that stayed as large would throw it off again.
        optimizer = optax.adam(optax.linear_schedule(3e-3, 0.0, 900))
        agent = PPO(cfg, env, None, network(head), network(heads.VNetwork()), optimizer, optimizer)
        assert mean_return(agent, *train(agent, 30_000)) > -0.02


@pytest.mark.parametrize("torso", ["mlp", pytest.param("gru", marks=pytest.mark.slow)])
def test_continuous_action_from_replay(torso: str) -> None:
    agent = make("sac", probes.ContinuousTarget(), torso)
    assert mean_return(agent, *train(agent, 20_000)) > -0.02
