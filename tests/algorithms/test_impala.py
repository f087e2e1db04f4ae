"""What is IMPALA's own: V-trace by present parameters, exact at time limits, and the losses on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from memorax.algorithms import IMPALA, IMPALAConfig
from memorax.networks import FeatureExtractor, Network, SequenceModelWrapper, heads
from tests.algorithms.test_ac_lambda import Identity, LinearValue
from tests.algorithms.test_gradient_ppo import Walk, with_weights

CFG = IMPALAConfig(
    num_envs=4, num_steps=8, sequence_length=4, gamma=0.9, trace_lambda=0.8, rho_clip=1.1, c_clip=1.05, ent_coef=0.0
)


def agent(cfg: IMPALAConfig = CFG) -> IMPALA:
    """The value is linear in the observation, as are the logits."""

    def network(head: nn.Module) -> Network:
        linear = head if isinstance(head, heads.Categorical) else LinearValue()
        return Network(FeatureExtractor(observation_extractor=Identity()), SequenceModelWrapper(Identity()), linear)

    return IMPALA.build(cfg, Walk(), None, network, optax.sgd(1.0))


def softmax(logits: np.ndarray) -> np.ndarray:
    probabilities = np.exp(logits - logits.max())
    return probabilities / probabilities.sum()


def test_an_update_is_that_of_the_paper() -> None:
    """Espeholt et al. (2018), section 4.1 and eq. 1, with a policy that has changed since it acted, in float64."""
    algorithm = agent()
    key, state = algorithm.init(jax.random.key(0))
    w = np.asarray([0.7, -0.4, 0.2])
    state = state.replace(critic=with_weights(state.critic, w))
    noisy = jax.tree.map(lambda x: x + jax.random.normal(key, x.shape), state.actor.params)

    @jax.jit
    def learn(key: jax.Array, state: Any) -> tuple[Any, Any]:
        acted, trajectory = algorithm.act(key, state)
        changed = acted.replace(actor=acted.actor.replace(params=noisy))
        return algorithm._learn(key, changed, trajectory)[0], trajectory

    after, trajectory = jax.device_get(learn(key, state))
    assert trajectory.terminated.any() and trajectory.truncated.any()
    layer = noisy["params"]["head"]["Dense_0"]
    kernel, bias = np.float64(layer["kernel"]), np.float64(layer["bias"])
    d_critic, d_bias, ratios = np.zeros(3), np.zeros(2), []
    for b in range(4):
        for start in (0, 4):
            correction = 0.0
            for t in reversed(range(start, start + 4)):
                x, final = (
                    np.float64(part[b, t]) for part in (trajectory.timesteps.observation, trajectory.final_observation)
                )
                action, ended = int(trajectory.action[b, t]), trajectory.terminated[b, t]
                cut = ended or trajectory.truncated[b, t] or t == start + 3
                pi = softmax(x @ kernel + bias)
                ratio = pi[action] / np.exp(float(trajectory.extras["log_prob"][b, t]))
                ratios.append(ratio)
                rho, c = min(1.1, ratio), 0.8 * min(1.05, ratio)
                discount = 0.0 if ended else 0.9
                value, next_value = x @ w, final @ w
                later = 0.0 if cut else correction
                advantage = rho * (float(trajectory.reward[b, t]) + discount * (next_value + later) - value)
                delta = rho * (float(trajectory.reward[b, t]) + discount * next_value - value)
                correction = delta + discount * c * later
                d_critic += correction * x
                d_bias += advantage * (np.eye(2)[action] - pi)
    assert min(ratios) < 1 < 1.1 < max(ratios)
    moved = np.asarray(jax.tree.leaves(after.critic.params)[0])[:, 0] - w
    np.testing.assert_allclose(moved, 0.5 * d_critic / 32, rtol=1e-4, atol=1e-6)
    moved = np.asarray(after.actor.params["params"]["head"]["Dense_0"]["bias"]) - bias
    np.testing.assert_allclose(moved, d_bias / 32, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_steps": 12, "sequence_length": 5}, "sequence_length (5) must divide num_steps (12)"),
        ({"rho_clip": 0.0}, "rho_clip (0.0) must be greater than 0"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        IMPALAConfig(**fields)
    assert str(error.value) == message


def test_sequences_that_cannot_be_dealt_out_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"sequences in a rollout \(8\) must be divisible by num_minibatches \(3\)"):
        agent(dataclasses.replace(CFG, num_minibatches=3))
