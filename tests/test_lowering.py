"""Every training program lowers for GPUs and TPUs, on a machine that has neither."""

from __future__ import annotations

import itertools

import jax
import pytest
from jax import export

from memorax.algorithms import ALGORITHMS
from memorax.networks import TORSOS
from memorax.training.summary import summarize
from tests.catalogue import FEATURES, make_agent
from tests.probes import EndlessReward

PLATFORMS = ("cpu", "cuda", "tpu")

FAST = {("ppo", "mamba"), ("dqn", "gru"), ("ac_lambda", "rtu")}


def pair(algorithm: str, torso: str) -> object:
    return pytest.param(algorithm, torso, marks=() if (algorithm, torso) in FAST else pytest.mark.slow)


EVERY_TORSO = [pair("ppo", torso) for torso in TORSOS]
EVERY_ALGORITHM = [pair(*names) for names in itertools.product(ALGORITHMS, ("mlp", "gru", "rtu")) if names[0] != "ppo"]


@pytest.mark.parametrize(("algorithm", "torso"), [*EVERY_TORSO, *EVERY_ALGORITHM])
def test_training_lowers_for_every_platform(algorithm: str, torso: str) -> None:
    agent = make_agent(algorithm, EndlessReward(limit=3), None, TORSOS[torso](FEATURES))
    train = jax.jit(lambda key, state: agent.train(key, state, agent.steps_per_iteration, summarize))
    exported = export.export(train, platforms=PLATFORMS)(*jax.eval_shape(agent.init, jax.random.key(0)))
    assert exported.platforms == PLATFORMS
