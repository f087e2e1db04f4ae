"""What is gradient PPO's own: the critic's and the auxiliary network's gradients, and the sequences they are over."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.algorithms import GradientPPO, GradientPPOConfig
from memorax.networks import FeatureExtractor, Network, SequenceModelWrapper, heads
from memorax.testing import check_close
from tests.algorithms import reference
from tests.algorithms.test_ac_lambda import LinearValue

CFG = GradientPPOConfig(
    num_envs=4,
    num_steps=8,
    sequence_length=4,
    num_minibatches=1,
    update_epochs=1,
    gamma=0.9,
    gae_lambda=0.7,
    beta=0.3,
    vf_coef=0.5,
)


def agent() -> GradientPPO:
    """Value and prediction are linear in the observation."""

    def network(head: nn.Module) -> Network:
        linear = head if isinstance(head, heads.Categorical) else LinearValue()
        return Network(FeatureExtractor(reference.Identity()), SequenceModelWrapper(reference.Identity()), linear)

    return GradientPPO.build(CFG, reference.Walk(), None, network, optax.sgd(1.0))


def with_weights(learner: Any, weights: np.ndarray) -> Any:
    return learner.replace(params=jax.tree.map(lambda x: jnp.asarray(weights, x.dtype)[:, None], learner.params))


def test_targets_losses_and_updates_are_those_of_the_paper() -> None:
    """The recursion of algorithm 1 over sequences of four steps, on a linear value; the policy learns as PPO's does."""
    algorithm = agent()

    @jax.jit
    def learn(key: jax.Array, w: jax.Array, theta: jax.Array) -> Any:
        key, state = algorithm.init(key)
        state = state.replace(critic=with_weights(state.critic, w), auxiliary=with_weights(state.auxiliary, theta))
        acted, trajectory = algorithm.act(key, state)
        advantage = algorithm._advantages(acted.critic_params, algorithm._prepare(acted, trajectory)[1])
        return state, trajectory, advantage, *algorithm._learn(key, acted, trajectory)

    w, theta = np.float32([0.7, -0.4, 0.2]), np.float32([0.1, 0.5, -0.3])
    before, trajectory, advantages, after, metrics = jax.device_get(learn(jax.random.key(0), w, theta))
    w, theta = np.float64(w), np.float64(theta)
    assert trajectory.terminated.any() and trajectory.truncated.any()
    critic_step, auxiliary_step = np.zeros(3), np.zeros(3)
    expected, predicted, critic_loss, error = np.zeros((8, 4)), np.zeros((8, 4)), 0.0, 0.0
    for row in range(8):
        b, start = row // 2, 4 * (row % 2)
        advantage, d_advantage = 0.0, np.zeros(3)
        for t in reversed(range(start, start + 4)):
            x = np.float64(trajectory.timesteps.observation[b, t])
            final = np.float64(trajectory.final_observation[b, t])
            going_on = not trajectory.terminated[b, t]
            # The value of a final observation at a time limit is a constant.
            d_next = final if going_on and not trajectory.truncated[b, t] else np.zeros(3)
            delta = float(trajectory.reward[b, t]) + 0.9 * going_on * (final @ w) - x @ w
            d_delta = 0.9 * d_next - x
            carried = 0.0 if trajectory.terminated[b, t] or trajectory.truncated[b, t] else 0.9 * 0.7
            advantage = delta + carried * advantage
            d_advantage = d_delta + carried * d_advantage
            h = x @ theta
            critic_step += advantage * x - h * (x + d_advantage)
            auxiliary_step += (advantage - h) * x
            critic_loss += h * (x @ w + advantage) - advantage * (x @ w)
            error += 0.5 * (advantage - h) ** 2
            expected[row, t - start], predicted[row, t - start] = advantage, h
    critic_step, auxiliary_step = 0.5 * critic_step / 32, auxiliary_step / 32 - 0.3 * theta
    check_close(advantages, expected)
    check_close(metrics["critic_loss"], 0.5 * critic_loss / 32)
    check_close(metrics["auxiliary_error"], error / 32)
    check_close(metrics["auxiliary_loss"], error / 32 + 0.5 * 0.3 * (theta @ theta))
    moved = [np.float64(jax.tree.leaves(learner.params)[0])[:, 0] for learner in (after.critic, after.auxiliary)]
    check_close(moved[0] - w, critic_step)
    check_close(moved[1] - theta, auxiliary_step)
    assert np.abs(critic_step).min() > 1e-3

    # The policy: generalised advantages along the whole rollout, standardised, at ratios of 1.
    seen, final = np.float64(trajectory.timesteps.observation), np.float64(trajectory.final_observation)
    errors = trajectory.reward + 0.9 * np.where(trajectory.terminated, 0, final @ w) - seen @ w
    advantage = reference.backwards(errors, 0.9 * 0.7 * ~(trajectory.terminated | trajectory.truncated))
    normal = (advantage - advantage.mean()) / advantage.std()

    def actor_loss(params: reference.Params) -> float:
        log_probs = reference.log_softmax(reference.layer(params, "head", seen))
        ratio = np.exp(reference.of_action(log_probs, trajectory.action) - trajectory.extras["log_prob"])
        entropy = -(np.exp(log_probs) * log_probs).sum(-1).mean()
        return -(ratio * normal).mean() - 0.01 * entropy

    old, new = (reference.named(state.actor.variables) for state in (before, after))
    check_close(metrics["actor_loss"], actor_loss(old))
    expected = reference.descend(actor_loss, old, rate=1.0)
    check_close(*(jax.tree.map(np.subtract, params, old) for params in (new, expected)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beta": -1.0}, "beta (-1.0) must not be negative"),
        ({"clip_vloss": True}, "clip_vloss (True) must be left out: the critic has a gradient of its own"),
        ({"burn_in": 2}, "burn_in (2) must be left out: the critic has a gradient of its own"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        GradientPPOConfig(**fields)
    assert str(error.value) == message
