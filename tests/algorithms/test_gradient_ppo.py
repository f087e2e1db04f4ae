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
from tests.algorithms.test_ac_lambda import Identity, LinearValue
from tests.probes import Probe

CFG = GradientPPOConfig(
    num_envs=4, num_steps=8, sequence_length=4, num_minibatches=1, gamma=0.9, gae_lambda=0.7, beta=0.3, vf_coef=0.5
)


class Walk(Probe):
    """Time and cue are shown; episodes terminate after three steps or are cut off after five, as the cue has it."""

    def observe(self, time: Any, cue: Any, previous: Any) -> jax.Array:
        return jnp.stack([jnp.sin(2.0 * time), cue + 0.1 * time, jnp.ones(())])

    def outcome(self, time: Any, cue: Any, previous: Any, action: Any) -> tuple[Any, Any, Any]:
        return cue + action, (time == 2) & (cue > 0), (time == 4) & (cue < 0)


def agent() -> GradientPPO:
    """Value and prediction are linear in the observation."""

    def network(head: nn.Module) -> Network:
        linear = head if isinstance(head, heads.Categorical) else LinearValue()
        return Network(FeatureExtractor(observation_extractor=Identity()), SequenceModelWrapper(Identity()), linear)

    return GradientPPO.build(CFG, Walk(), None, network, optax.sgd(1.0))


def with_weights(learner: Any, weights: np.ndarray) -> Any:
    return learner.replace(params=jax.tree.map(lambda x: jnp.asarray(weights, x.dtype)[:, None], learner.params))


def test_both_gradients_are_those_of_the_paper() -> None:
    """The recursion of algorithm 1 over sequences of four steps, on a linear value, in float64."""
    algorithm = agent()
    key, state = algorithm.init(jax.random.key(0))
    w, theta = np.asarray([0.7, -0.4, 0.2]), np.asarray([0.1, 0.5, -0.3])
    state = state.replace(critic=with_weights(state.critic, w), auxiliary=with_weights(state.auxiliary, theta))

    @jax.jit
    def learn(key: jax.Array, state: Any) -> tuple[Any, Any]:
        state, trajectory = algorithm.act(key, state)
        state, batch = algorithm._prepare(state, trajectory)
        return algorithm._update(state, batch, jnp.int32(0), 0.0)[0], trajectory

    after, trajectory = jax.device_get(learn(key, state))
    assert trajectory.terminated.any() and trajectory.truncated.any()
    critic_step, auxiliary_step = np.zeros(3), np.zeros(3)
    for b in range(4):
        for start in (0, 4):
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
    critic_step, auxiliary_step = 0.5 * critic_step / 32, auxiliary_step / 32 - 0.3 * theta
    moved = [np.asarray(jax.tree.leaves(learner.params)[0])[:, 0] for learner in (after.critic, after.auxiliary)]
    np.testing.assert_allclose(moved[0] - w, critic_step, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved[1] - theta, auxiliary_step, rtol=1e-4, atol=1e-6)
    assert np.abs(critic_step).min() > 1e-3


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
