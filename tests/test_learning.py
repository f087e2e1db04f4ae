"""Whole agents on whole tasks: `make test-slow`."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import memorax
from benchmarks import learning, results
from memorax.algorithms import DQN, PPO, Algorithm, DQNConfig, PPOConfig
from memorax.cli.demo import demo_config
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network
from memorax.training.config import build_agent
from memorax.training.loop import train
from memorax.training.summary import count_evaluated_episodes
from tests.probes import CueRecall

pytestmark = pytest.mark.slow

CARTPOLE_STEPS = 100_000


def evaluation_returns(agent: Algorithm, states: Any, num_steps: int) -> np.ndarray:
    """Mean greedy return of every seed, in an evaluation of `num_steps`."""

    def evaluate(key: jax.Array, state: Any) -> jax.Array:
        episodes = count_evaluated_episodes(agent.evaluate(key, state, num_steps)[1])
        return episodes.returns / episodes.count

    keys = jax.random.split(jax.random.key(99), states.step.shape[0])
    return np.asarray(jax.jit(jax.vmap(evaluate))(keys, states))


def train_seeds(agent: Algorithm, total_steps: int, num_seeds: int = 3) -> Any:
    keys, states = jax.vmap(agent.init)(jax.random.split(jax.random.key(0), num_seeds))

    def run(key: jax.Array, state: Any) -> Any:
        return agent.train(key, state, total_steps, keep=lambda transition, metrics: ())[1]

    return jax.jit(jax.vmap(run))(keys, states)


def cartpole_without_velocities(torso: str) -> PPO:
    # A hundred rewards of one lie ahead of a good agent: scaled, the critic need not grow that far before it helps.
    env, env_params = memorax.make("gymnax::CartPole-v1", mask_observation=(0, 2), scale_reward=0.01)
    limits = jnp.asarray([2.4, 0.2095])  # of position and angle: where an episode ends
    # Eight sequences in a minibatch: of two whole rollouts, whose steps are alike, an update unlearns what others hold.
    cfg = PPOConfig(
        num_envs=8,
        num_steps=128,
        sequence_length=32,
        gae_lambda=0.98,
        update_epochs=10,
        num_minibatches=4,
        ent_coef=0.0,
    )
    num_updates = math.ceil(CARTPOLE_STEPS / 1024) * cfg.update_epochs * cfg.num_minibatches

    def network(head: Any) -> Network:
        encoder = nn.Sequential([lambda observation: observation / limits[None, None], MLP(64, activation=jnp.tanh)])
        return Network(FeatureExtractor(observation_extractor=encoder), TORSOS[torso](64), head)

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(7e-4, 0.0, num_updates)))
    return PPO.build(cfg, env, env_params, network, optimizer)


def test_ppo_lstm_balances_a_pole_whose_velocity_it_cannot_see() -> None:
    agent = cartpole_without_velocities("lstm")
    returns = evaluation_returns(agent, train_seeds(agent, CARTPOLE_STEPS), 8 * 2500)
    assert returns.min() >= 450, returns


def test_memoryless_ppo_cannot() -> None:
    agent = cartpole_without_velocities("mlp")
    returns = evaluation_returns(agent, train_seeds(agent, CARTPOLE_STEPS), 8 * 2500)
    assert returns.max() < 150, returns


@pytest.mark.parametrize(
    "name", [name for name, e in results.EXPERIMENTS.items() if not e.config.environment.startswith("jaxmarl")]
)
def test_an_experiment_ends_as_it_is_to(name: str) -> None:
    experiment = results.EXPERIMENTS[name]
    _, returns = results.learning_curve(experiment, num_seeds=3, seed=0)
    assert experiment.holds(returns), returns[-1]


def test_dqn_gru_recalls_a_cue() -> None:
    def network(head: Any) -> Network:
        extractor = FeatureExtractor(observation_extractor=MLP(32, activation=jnp.tanh))
        return Network(extractor, TORSOS["gru"](32), head)

    cfg = DQNConfig(num_envs=8, num_steps=8, num_updates=4, sequence_length=16, exploration_steps=10_000)
    agent = DQN.build(cfg, CueRecall(delay=8), None, network, optax.adam(2e-3))
    returns = evaluation_returns(agent, train_seeds(agent, 100_000), 8 * 500)
    assert returns.min() >= 0.9, returns


@pytest.mark.parametrize(("torso", "low", "high"), [("gru", 0.95, 1.0), ("mlp", -1.0, 0.0)])
def test_the_demonstration_shows_what_memory_is_for(torso: str, low: float, high: float) -> None:
    config = demo_config(torso)
    result = train(build_agent(config), config.total_steps, num_seeds=2, loggers=[])
    for row in result.metrics:
        assert low <= row["evaluation_return"] <= high + 1e-3


@pytest.mark.parametrize("torso", [torso for torso in TORSOS if torso != "mlp"])
@pytest.mark.parametrize("task", learning.TASKS)
def test_a_torso_remembers_unless_it_is_known_not_to(task: str, torso: str) -> None:
    step, best = learning.learn(torso, task)
    assert (step is None) == (task in learning.OUT_OF_REACH.get(torso, ())), (step, best)


@pytest.mark.parametrize("task", learning.TASKS)
def test_without_a_memory_there_is_only_guessing(task: str) -> None:
    assert learning.learn("mlp", task)[1] < -0.3
