"""Every algorithm on environments whose answers are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
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
    """

    cfg: Any
    optimizer: Any
    patience: float = 1.0


SETTINGS: dict[str, Settings] = {
    "ppo": Settings(
        PPOConfig(num_envs=16, num_steps=16, gamma=GAMMA, num_minibatches=2, ent_coef=0.003),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3)),
    ),
    # Where no action matters, normalised advantages are noise of full size, which moves the values by what they share.
    "shared_ppo": Settings(
        PPOConfig(num_envs=16, num_steps=16, gamma=GAMMA, num_minibatches=2, ent_coef=0.003, normalize_advantage=False),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3)),
    ),
    "dqn": Settings(
        DQNConfig(
            num_envs=8,
            num_steps=8,
            gamma=GAMMA,
            num_updates=4,
            learning_starts=500,
            target_update_period=50,
            sequence_length=8,
            exploration_steps=10_000,
        ),
        optax.adam(2e-3),
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


def make(algorithm: str, env: Environment, env_params: Any, torso: str, previous_action: bool = False) -> Algorithm:
    def network(head: Any) -> Network:
        extractor = FeatureExtractor(
            observation_extractor=MLP(32, activation=jnp.tanh), action_extractor=OneHot(2) if previous_action else None
        )
        return Network(extractor, TORSOS[torso](32), narrow(head))

    settings = SETTINGS[algorithm]
    return ALGORITHMS[algorithm][0].build(settings.cfg, env, env_params, network, settings.optimizer)


def narrow(head: Any) -> Any:
    """Twin values with one small hidden layer; any other head as it is."""
    return heads.Twin(head.head.clone(hidden_features=(32,))) if isinstance(head, heads.Twin) else head


def train(agent: Algorithm, num_steps: int) -> tuple[jax.Array, Any]:
    patience = next((settings.patience for settings in SETTINGS.values() if settings.cfg is agent.cfg), 1.0)
    key, state = agent.init(jax.random.key(0))
    key, state, _ = agent.train(key, state, int(patience * num_steps), keep=lambda transition, metrics: ())
    return key, state


@dataclass(frozen=True)
class Learned:
    """What an agent has learned.

    Attributes:
        trajectory: a fresh rollout, leaves `[B, T, ...]`.
        value: `[B, T]` along it: of the critic, or of the greedy action.
        mean_return: of the episodes of an evaluation.
    """

    trajectory: Any
    value: Any
    mean_return: Any


def learn(algorithm: str, env: Environment, env_params: Any, torso: str, num_steps: int) -> Learned:
    agent = make(algorithm, env, env_params, torso)
    key, state = train(agent, num_steps)
    return Learned(*values(agent, key, state), mean_return(agent, key, state))


def values(agent: Algorithm, key: jax.Array, state: Any) -> tuple[Any, jax.Array]:
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

    return along(key, state)


def mean_return(agent: Algorithm, key: jax.Array, state: Any) -> jax.Array:
    _, transitions = agent.evaluate(key, state, 8 * 64)
    info = transitions.info
    return (info["returned_episode_returns"] * info["returned_episode"]).sum() / info["returned_episode"].sum()


def constant_value(learned: Learned) -> None:
    np.testing.assert_allclose(learned.value, 1.0, atol=0.02)


def value_of_the_observation(learned: Learned) -> None:
    np.testing.assert_allclose(learned.value, learned.trajectory.timesteps.observation[..., 0], atol=0.05)


def discounting(learned: Learned) -> None:
    at_the_end = learned.trajectory.timesteps.observation[..., 0] > 0
    np.testing.assert_allclose(learned.value, np.where(at_the_end, 1.0, GAMMA), atol=0.05)


def the_best_return_is_one(learned: Learned) -> None:
    assert learned.mean_return == 1.0


def a_time_limit_is_not_a_failure(learned: Learned) -> None:
    np.testing.assert_allclose(learned.value, 1 / (1 - GAMMA), rtol=0.03)


def values_of_two_episodes(learned: Learned) -> None:
    observation, reward = learned.trajectory.timesteps.observation[..., 0], learned.trajectory.reward
    # From the start of an episode on: the rollout may have begun in the middle of one.
    expected = np.where(observation != 0, GAMMA * observation, reward)
    np.testing.assert_allclose(learned.value, expected, atol=0.1)


def the_cue_is_recalled(learned: Learned) -> None:
    assert learned.mean_return >= 0.9


def the_cue_is_not_recalled(learned: Learned) -> None:
    assert learned.mean_return < 0.5


@dataclass(frozen=True)
class Exercise:
    """A probe, the torso and the environment steps it is learned with, and the check of what was learned."""

    probe: probes.Probe
    torso: str
    num_steps: int
    check: Callable[[Learned], None]


EXERCISES: dict[str, Exercise] = {
    "constant_value": Exercise(probes.ConstantValue(), "mlp", 10_000, constant_value),
    "value_of_the_observation": Exercise(probes.ObservationValue(), "mlp", 10_000, value_of_the_observation),
    "discounting": Exercise(probes.Discounting(), "mlp", 15_000, discounting),
    "action_matters": Exercise(probes.ActionMatters(), "mlp", 10_000, the_best_return_is_one),
    "action_depends": Exercise(probes.ActionTimesObservation(), "mlp", 10_000, the_best_return_is_one),
    "cue_without_memory": Exercise(probes.CueRecall(), "mlp", 20_000, the_cue_is_not_recalled),
    "time_limit_without_memory": Exercise(probes.EndlessReward(), "mlp", 40_000, a_time_limit_is_not_a_failure),
    "time_limit": Exercise(probes.EndlessReward(), "gru", 40_000, a_time_limit_is_not_a_failure),
    "two_episodes": Exercise(probes.TwoEpisodes(), "gru", 40_000, values_of_two_episodes),
    "cue_recall": Exercise(probes.CueRecall(), "gru", 60_000, the_cue_is_recalled),
}

TOGETHER = {
    "without_memory": (
        "constant_value",
        "value_of_the_observation",
        "discounting",
        "action_matters",
        "action_depends",
        "cue_without_memory",
    ),
}
"""Exercises that are learned side by side in one program: most of their time is compilation."""

SIDE_BY_SIDE = (("ppo", "without_memory"), ("dqn", "without_memory"))
"""The longer ones of replay are faster alone: mapped over, a buffer is copied with every choice."""

FAST = (("shared_ppo", "cue_recall"), *((name, "discounting") for name in SETTINGS if name != "r2d2"))
"""What is learned in the fast tests, beside what PPO learns side by side without a memory."""


@pytest.mark.parametrize(
    ("algorithm", "group"),
    [x if x == ("ppo", "without_memory") else pytest.param(*x, marks=pytest.mark.slow) for x in SIDE_BY_SIDE],
)
def test_exercises_side_by_side(algorithm: str, group: str) -> None:
    exercises = [EXERCISES[name] for name in TOGETHER[group]]
    env = probes.OneOf(members=tuple(exercise.probe for exercise in exercises))
    num_steps = max(exercise.num_steps for exercise in exercises)

    def learned(member: jax.Array) -> tuple[Any, ...]:
        result = learn(algorithm, env, member, exercises[0].torso, num_steps)
        return result.trajectory, result.value, result.mean_return

    results = jax.device_get(jax.jit(jax.vmap(learned))(jnp.arange(len(exercises))))
    for i, exercise in enumerate(exercises):
        exercise.check(Learned(*jax.tree.map(lambda x, i=i: x[i], results)))


def alone() -> list[Any]:
    """Every exercise of an algorithm that is not learned side by side with others."""
    together = {(algorithm, name) for algorithm, group in SIDE_BY_SIDE for name in TOGETHER[group]}
    cases = []
    for name, algorithm in itertools.product(EXERCISES, SETTINGS):
        if (algorithm, name) in together or (algorithm in STREAMING and name in ("two_episodes", "cue_recall")):
            continue
        fast = (algorithm, name) in FAST
        cases.append(pytest.param(algorithm, name, marks=() if fast else pytest.mark.slow))
    return cases


@pytest.mark.parametrize(("algorithm", "name"), alone())
def test_exercise(algorithm: str, name: str) -> None:
    exercise = EXERCISES[name]
    exercise.check(learn(algorithm, exercise.probe, None, exercise.torso, exercise.num_steps))


@pytest.mark.parametrize("algorithm", [x if x == "ppo" else pytest.param(x, marks=pytest.mark.slow) for x in SETTINGS])
def test_previous_action_needed(algorithm: str) -> None:
    agent = make(algorithm, probes.PreviousActionNeeded(), None, "mlp", previous_action=True)
    assert mean_return(agent, *train(agent, 60_000)) >= 7.5


@pytest.mark.slow
def test_continuous_action() -> None:
    def network(head: Any) -> Network:
        return Network(FeatureExtractor(observation_extractor=MLP(32)), TORSOS["mlp"](32), head)

    env = probes.ContinuousTarget()
    for head in (heads.Gaussian(1, initial_log_std=-1.0), heads.SquashedGaussian(1, initial_log_std=-1.0)):
        cfg = PPOConfig(num_envs=8, num_steps=32, num_minibatches=2, ent_coef=0.0)
        # The policy narrows as it learns: steps that stayed as large would throw it off again. Larger ones at first may
        # narrow a squashed policy before it is where it should be.
        optimizer = optax.adam(optax.linear_schedule(1e-3, 0.0, 900))
        agent = PPO(cfg, env, None, network(head), network(heads.VNetwork()), optimizer, optimizer)
        assert mean_return(agent, *train(agent, 30_000)) > -0.02


@pytest.mark.slow
@pytest.mark.parametrize("torso", ["mlp", "gru"])
def test_continuous_action_from_replay(torso: str) -> None:
    agent = make("sac", probes.ContinuousTarget(), None, torso)
    assert mean_return(agent, *train(agent, 20_000)) > -0.02
