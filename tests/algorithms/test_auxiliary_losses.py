"""The losses that modules of a network have of their own are part of every algorithm's loss."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.algorithms import PPO, Algorithm
from memorax.algorithms.ppo import Minibatch
from memorax.networks import MoE, SequenceModelWrapper
from memorax.testing import check_close
from memorax.types import Array, PyTree, Timestep
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import CueRecall

BURN_IN = 2


def make(algorithm: str, coefficient: float) -> Algorithm:
    """An agent whose torso is a mixture of experts."""
    torso = SequenceModelWrapper(MoE(FEATURES, load_balancing_coef=coefficient))
    cfg = dataclasses.replace(CONFIGS[algorithm], burn_in=BURN_IN)
    return make_agent(algorithm, CueRecall(), None, torso, cfg, learning_rate=0.05)


def learned_from(agent: Algorithm) -> tuple[Callable[[Algorithm, PyTree], Any], PyTree, Timestep]:
    """The acting network's loss and metrics as a function of agent and parameters, parameters, and the steps seen."""
    key, state = agent.init(jax.random.key(0))
    if isinstance(agent, PPO):
        state, trajectory = agent.act(key, state)
        noise = jax.random.normal(key, trajectory.reward.shape)
        log_prob = trajectory.extras["log_prob"]
        batch = Minibatch(trajectory.timesteps, trajectory.action, log_prob, noise, noise, noise, None, (), ())
        return lambda agent, params: agent._actor_loss(params, batch, 0.01), state.actor_params, trajectory.timesteps
    key, state = agent.warmup(key, state, 128)
    batch = agent.buffer.sample(key, state.buffer)
    return lambda agent, params: agent._loss(params, state.params, batch), state.params, batch.steps.timesteps


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_the_load_of_experts_is_balanced(algorithm: str) -> None:
    """The gradient is that without, plus that of Fedus et al. (2022), Eq. 4-6, after the burn-in."""
    agent, without = make(algorithm, 0.3), make(algorithm, 0.0)
    prefix = "actor_" if algorithm == "ppo" else ""
    loss, params, timesteps = learned_from(agent)
    extractor = next(iter(agent.networks.values())).feature_extractor

    def balance(params: PyTree) -> Array:
        inputs = (timesteps.observation, timesteps.action, timesteps.reward, timesteps.done)
        features = extractor.apply({"params": params["params"]["feature_extractor"]}, *inputs)[:, BURN_IN:]
        logits = features @ params["params"]["torso"]["module"]["router"]["kernel"]
        probability = jnp.exp(logits) / jnp.exp(logits).sum(-1, keepdims=True)
        used = jnp.argmax(logits, axis=-1)[..., None] == jnp.arange(4)[None, None]
        return 0.3 * 4 * sum(used[..., i].mean() * probability[..., i].mean() for i in range(4))

    @jax.jit
    def differentiate(params: PyTree) -> tuple[PyTree, ...]:
        got = jax.value_and_grad(functools.partial(loss, agent), has_aux=True)(params)
        plain = jax.value_and_grad(lambda params: loss(without, params)[0])(params)
        return *got, plain, jax.value_and_grad(balance)(params)

    (total, (metrics, _)), gradient, plain, own = differentiate(params)
    expected = jax.tree.map(jnp.add, plain, own)
    check_close((total, gradient), expected)
    np.testing.assert_allclose(metrics[f"{prefix}load_balancing_loss"], own[0], rtol=1e-5)
    assert float(jnp.abs(own[1]["params"]["torso"]["module"]["router"]["kernel"]).max()) > 1e-3


def test_training_evens_the_load_and_reports_it() -> None:
    agent = make("ppo", 10.0)
    # A seed with which the routers of both networks begin uneven.
    _, _, metrics = agent.train(*agent.init(jax.random.key(4)), 640, keep=lambda transition, metrics: metrics)
    for network in ("actor", "critic"):
        reported = np.asarray(metrics[f"{network}_load_balancing_loss"]) / 10
        assert reported[0] > 1.1 > reported[-5:].mean() >= 0.99
