"""Carries of the same parameters have not drifted; those of others drift back as steps are taken."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.buffers import SequenceBuffer
from memorax.learning.replay import ReplayedSteps
from memorax.networks import RNN
from memorax.probing.carries import carries_along
from memorax.probing.stored_carries import drift_in_buffer, drift_of_earlier_parameters
from tests.probing.small import network, timesteps, variables

DONE = np.arange(24)[None] % 12 == np.zeros((2, 1))


def test_drift_of_earlier_parameters_fades() -> None:
    model, steps = network(RNN(nn.GRUCell(4))), timesteps(DONE)
    params, carry = variables(model, steps)
    earlier = jax.tree.map(lambda x: 0.5 * x, params)
    same, drifted = (
        drift_of_earlier_parameters(model, params, other, steps, carry, period=4, length=10, source="before")
        for other in (params, earlier)
    )
    # Windows start at 0, 4, 8 and 12, where episodes start at 0 and 12: 8 steps go on from the second of them.
    np.testing.assert_array_equal(np.isnan(same.by_step), [False] * 8 + [True] * 2)
    assert np.nanmax(same.by_step) < 1e-5
    assert drifted.by_step[0] > 0.05 and drifted.by_step[7] < drifted.by_step[0] / 2
    assert drifted.source == "before"


def test_drift_in_a_buffer() -> None:
    model, steps = network(RNN(nn.GRUCell(4))), timesteps(DONE)
    params, carry = variables(model, steps)
    after = carries_along(model, params, steps, carry)
    before = jnp.concatenate([carry[:, None], after[:, :-1]], axis=1)[:, ::4]
    replayed = ReplayedSteps(steps, steps.action, steps.reward, jnp.zeros_like(steps.done), jnp.ones_like(steps.done))
    buffer = SequenceBuffer(capacity=48, sequence_length=4, batch_size=2)
    one = jax.tree.map(lambda x: x[:, 0], replayed)
    state = buffer.add(buffer.init(one, (carry,), 24, 4), replayed, (before,))

    def drift(params: object, acting_carries: object = lambda carries: carries[0]) -> object:
        return drift_in_buffer(jax.random.key(0), model, params, state, acting_carries, 4, "a buffer")  # type: ignore

    assert np.nanmax(drift(params).by_step) < 1e-5
    assert drift(jax.tree.map(lambda x: 1.5 * x, params)).by_step[0] > 0.05
    assert drift(params, lambda carries: ()) is None
