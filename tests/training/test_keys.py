"""No two purposes reset an environment with the same key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import DQN, DQNConfig
from memorax.environments.environment import Environment, StepResult
from memorax.environments.spaces import Box, Discrete
from memorax.networks import MLP, FeatureExtractor, Network, SequenceModelWrapper, heads
from memorax.random_keys import key_for
from memorax.training import TrainConfig, evaluate_run, load_run, render_run, train
from memorax.types import Array, Key, PyTree


class RecordsResets(Environment):
    """Every episode takes a step; `keys` holds the key of every reset that was computed."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def reset(self, key: Key, params: PyTree) -> tuple[Array, Array]:
        jax.debug.callback(lambda data: self.keys.append(np.asarray(data).tobytes()), jax.random.key_data(key))
        return jnp.zeros((1,)), jnp.zeros(())

    def step_env(self, key: Key, env_state: Array, action: Array, params: PyTree) -> StepResult:
        over = jnp.ones((), bool)
        return jnp.zeros((1,)), env_state, jnp.zeros(()), over, ~over, {}

    def observation_space(self, params: PyTree) -> Box:
        return Box(0.0, 1.0, (1,))

    def action_space(self, params: PyTree) -> Discrete:
        return Discrete(2)

    def render(self, env_state: Array, params: PyTree) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)

    def taken(self) -> list[bytes]:
        """The keys since the last call."""
        jax.effects_barrier()
        keys, self.keys = self.keys, []
        return keys


def test_no_two_resets_meet_over_all_that_begins_from_key_0(tmp_path: Path) -> None:
    env = RecordsResets()
    extractor = FeatureExtractor(observation_extractor=MLP(2))
    network = Network(extractor, SequenceModelWrapper(MLP(2)), heads.DiscreteQNetwork(2))
    cfg = DQNConfig(num_envs=2, num_steps=2, learning_starts=1000, buffer_size=64, batch_size=2, sequence_length=2)
    agent: Any = DQN(cfg, env, None, network, optax.sgd(0.1))
    met: dict[str, list[bytes]] = {}

    folder = tmp_path / "run"
    train(agent, 8, num_seeds=2, folder=folder, log_interval=4, evaluation_interval=4, evaluation_steps=4, loggers=[])
    met["init, train and evaluate two seeds, twice"] = env.taken()
    state = load_run(folder, agent=agent).seed(0)
    evaluate_run(folder, num_steps=4, agent=agent)
    met["evaluate_run"] = env.taken()
    render_run(folder, agent=agent)
    met["render_run"] = env.taken()
    key = jax.random.key(0)
    agent.evaluate(key, state, 4)
    met["evaluate"] = env.taken()
    _, state = agent.restart(key, state)
    met["restart"] = env.taken()
    agent.enter(jax.random.split(key)[1], state, env.vectorize(1))
    met["enter"] = env.taken()
    _, state = agent.warmup(key, state, 4)
    met["warmup"] = env.taken()

    assert all(met.values())
    owners: dict[bytes, str] = {}
    for purpose, keys in met.items():
        for reset in keys:
            assert reset not in owners, f"{purpose} resets with a key of {owners[reset]}"
            owners[reset] = purpose


def test_a_seed_that_would_give_the_keys_of_another_is_refused(tmp_path: Path) -> None:
    assert (jax.random.key(2**32) == jax.random.key(0)).all(), "JAX makes keys of 32 bits"
    for name, takes_it in (
        ("seed", lambda seed: TrainConfig(environment="memory::TMaze", seed=seed)),
        ("seed", lambda seed: evaluate_run(tmp_path, seed=seed)),
        ("environment_seed", lambda seed: render_run(tmp_path, environment_seed=seed)),
    ):
        for seed in (-1, 2**31, 2**32, 2**70):
            with pytest.raises(ValueError, match=rf"^{name} \({seed}\) must lie between 0 and {2**31 - 1}$"):
                takes_it(seed)
    with pytest.raises(ValueError, match="must lie between 0 and 2147483646"):
        TrainConfig(environment="memory::TMaze", seed=2**31 - 1, num_seeds=2)


def test_the_key_of_a_purpose_is_the_same_in_every_process() -> None:
    key = jax.random.key(3)
    assert (key_for(key, "render") == jax.random.fold_in(key, 2489096554)).all(), "the CRC-32 of the name"
