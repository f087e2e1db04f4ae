"""Padded episodes with the loss of an algorithm."""

from __future__ import annotations

import jax
import numpy as np

from memorax.algorithms import DQN, DQNConfig
from memorax.buffers import PrioritisedEpisodeBuffer
from memorax.networks import TORSOS
from tests.catalogue import FEATURES, make_agent
from tests.probes import CueRecall


def test_padding_has_no_part_in_the_loss() -> None:
    """Every step of episodes of five that terminate has a target, and the loss and its gradient do not move, bit for
    bit, with what the padding holds on both sides.
    """
    cfg = DQNConfig(num_envs=4, num_steps=8)
    template = make_agent("dqn", CueRecall(), None, TORSOS["gru"](FEATURES), cfg)
    buffer = PrioritisedEpisodeBuffer(capacity=512, sequence_length=8, batch_size=16, burn_in=3)
    agent = DQN(cfg, template.env, None, template.q_network, template.optimizer, buffer)
    key, state = agent.warmup(*agent.init(jax.random.key(0)), 256)
    batch = jax.device_get(jax.jit(buffer.sample)(key, state.buffer))
    np.testing.assert_array_equal(batch.valid, np.tile([False] * 3 + [True] * 5 + [False] * 4, (16, 1)))

    def disturb(x):
        padding = batch.valid.reshape(*batch.valid.shape, *[1] * (x.ndim - 2))
        return np.where(padding, x, np.ones_like(x))

    timesteps = jax.tree.map(disturb, batch.steps.timesteps).replace(done=batch.steps.timesteps.done)
    steps = jax.tree.map(disturb, batch.steps).replace(timesteps=timesteps)
    differences = jax.tree.map(lambda a, b: (a != b).any(), steps, batch.steps)
    assert sum(jax.tree.leaves(differences)) >= 3

    loss = jax.jit(jax.value_and_grad(agent._loss, has_aux=True))
    (value, (_, (targets, _))), gradient = loss(state.params, state.target_params, batch)
    (same_value, _), same_gradient = loss(state.params, state.target_params, batch.replace(steps=steps))
    assert targets == 16 * 5
    jax.tree.map(np.testing.assert_array_equal, (value, gradient), (same_value, same_gradient))
