"""What is particular to single recurrent cells: how they start, and how they fare at the ends of their gates."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks.sequence_models import (
    FFMCell,
    Memoroid,
    MemoroidCell,
    MinLSTMCell,
    RGLRUCell,
    RTUCell,
    S4DCell,
    S5Cell,
    SHMCell,
    sLSTMCell,
)
from memorax.networks.sequence_models.lmu import legendre_delay
from memorax.networks.sequence_models.s5 import hippo_normal
from memorax.networks.sequence_models.shm import draw_rows
from tests.networks.sequence_models.laws import initialize, sequence


def cell_params(cell: MemoroidCell, features: int = 64) -> dict[str, np.ndarray]:
    model = Memoroid(cell)
    inputs, done, carry = sequence(model, features, batch_size=1, num_steps=1)
    return jax.tree.map(np.asarray, initialize(model, inputs, done, carry)["params"]["cell"])


@pytest.mark.parametrize("cell", [sLSTMCell(8, num_heads=2), MinLSTMCell(8), RGLRUCell(8), SHMCell(8, memory_size=4)])
def test_gates_that_open_and_close_altogether(cell: MemoroidCell) -> None:
    model = Memoroid(cell)
    inputs, done, carry = sequence(model, 8, num_steps=40)
    params = initialize(model, inputs, done, carry)

    @jax.jit
    def gradient(params: Any, inputs: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return jnp.mean(jnp.tanh(model.apply(params, inputs, done, carry)[1]))

        return jax.value_and_grad(loss)(params)

    for scale in (1e3, 1e5):
        assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient(params, scale * inputs)))


def test_s5_starts_with_the_normal_part_of_hippo_legs() -> None:
    size, blocks = 6, 2
    n, k = np.ogrid[:size, :size]
    legs = -np.where(n > k, np.sqrt((2 * n + 1) * (2 * k + 1)), np.where(n == k, n + 1.0, 0))
    low_rank = np.sqrt(np.arange(size) + 0.5)
    normal = np.kron(np.eye(blocks), legs + np.outer(low_rank, low_rank))
    eigenvalues, vectors = hippo_normal(size * blocks, blocks)
    np.testing.assert_allclose(2 * (vectors * eigenvalues @ vectors.conj().T).real, normal, atol=1e-12)

    params = cell_params(S5Cell(64, blocks=4, dt_min=0.01, dt_max=0.05))
    steps = np.exp(params["log_step"])
    assert 0.01 <= steps.min() < 0.02 < 0.03 < steps.max() <= 0.05
    np.testing.assert_allclose(params["Lambda_re"], -0.5, rtol=1e-6)


def test_s4d_starts_with_the_frequencies_of_the_paper() -> None:
    linear, inverse = (cell_params(S4DCell(8, d_state=8, initialization=name), 3) for name in ("lin", "inv"))
    np.testing.assert_allclose(linear["A_imag"], np.tile(np.pi * np.arange(4)[:, None], (1, 3)), rtol=1e-6)
    np.testing.assert_allclose(inverse["A_imag"][:, 0], 8 / np.pi * (8 / np.array([1, 3, 5, 7]) - 1), rtol=1e-6)
    np.testing.assert_allclose(np.exp(linear["log_A_real"]), 0.5, rtol=1e-6)


def test_the_decays_of_rg_lru_rtu_and_ffm_start_in_their_ranges() -> None:
    decay = 1 / (1 + np.exp(-cell_params(RGLRUCell(64, a_min=0.5, a_max=0.7))["Lambda"].astype(float)))
    assert 0.5 <= (decay**8).min() < 0.53 < 0.67 < (decay**8).max() <= 0.7
    rtu = cell_params(RTUCell(128, r_min=0.4, r_max=0.9, max_phase=0.5))
    radius, phase = np.exp(-np.exp(rtu["nu_log"])), np.exp(rtu["theta_log"])
    assert 0.4 <= radius.min() < 0.5 < 0.8 < radius.max() <= 0.9
    assert phase.max() <= 0.5
    alpha = cell_params(FFMCell(8, horizon=100, beta=0.1))["alpha"]
    np.testing.assert_allclose(np.exp(-100 * alpha.min()), 0.1, rtol=1e-4)


def test_the_legendre_memory_delays_its_input() -> None:
    order, theta = 12, 40
    a, b = legendre_delay(order, theta)
    signal = np.sin(2 * np.pi * np.arange(200) / 50)
    memory, delayed = np.zeros(order), []
    for u in signal:
        memory = a @ memory + b * u
        delayed.append(memory.sum())  # every shifted Legendre polynomial is 1 at the far end of the window (Eq. 3)
    # What is held over a step lags by half of it.
    between = (signal[99 - theta : 199 - theta] + signal[100 - theta : 200 - theta]) / 2
    np.testing.assert_allclose(delayed[99:199], between, atol=0.02)


def test_the_rows_of_shm_are_uniform_and_independent_from_step_to_step() -> None:
    rows = np.asarray(draw_rows(jnp.arange(64_000), 64))
    counts = np.bincount(rows, minlength=64)
    assert rows.max() == 63
    assert ((counts - 1000) ** 2 / 1000).sum() < 103, "chi-squared of 63 degrees of freedom, p = 0.001"
    pairs = np.bincount(rows[:-1] * 64 + rows[1:], minlength=64**2)
    expected = 63_999 / 64**2
    assert ((pairs - expected) ** 2 / expected).sum() < 4095 + 4 * np.sqrt(2 * 4095)
