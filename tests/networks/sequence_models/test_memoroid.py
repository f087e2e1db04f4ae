"""Long sequences in blocks of time give what they give at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from memorax.networks.sequence_models import DeltaNetCell, Memoroid, memoroid
from memorax.testing import check_close
from tests.networks.sequence_models import laws


def test_blocks_of_time_change_neither_results_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Memoroid(DeltaNetCell(8, chunk_length=4))
    inputs, done, carry = laws.sequence(model, 8, num_steps=23)
    params = laws.initialize(model, inputs, done, carry)

    def run() -> Any:
        def loss(params: Any, inputs: jax.Array, carry: Any) -> tuple:
            final, outputs = model.apply(params, inputs, done, carry)
            return jnp.mean(outputs**2) + jnp.mean(final.state**2), (final, outputs)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(params, inputs, carry)

    at_once = run()
    # 3 sequences of 23 steps: 3 blocks of 7 in a loop, and the 2 steps that are left.
    monkeypatch.setattr(memoroid, "INPUTS_PER_BLOCK", {jax.default_backend(): 20})
    in_blocks = run()
    check_close(in_blocks, at_once)


@pytest.mark.parametrize("in_blocks", [True, False])
def test_losses_of_a_cell_are_not_lost_in_blocks(in_blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memoroid, "INPUTS_PER_BLOCK", {jax.default_backend(): 20})

    class Cell(DeltaNetCell):
        def gate(self, inputs: jax.Array, outputs: jax.Array) -> jax.Array:
            self.sow("losses", "size", jnp.mean(outputs**2))
            return outputs

    Cell.in_blocks = in_blocks
    model = Memoroid(Cell(8))
    inputs, done, carry = laws.sequence(model, 8, num_steps=23)
    params = jax.eval_shape(model.init, jax.random.key(0), inputs, done, carry)

    def run(params: Any) -> Any:
        return model.apply({"params": params["params"]}, inputs, done, carry, mutable=["losses"])[1]

    if in_blocks:
        with pytest.raises(ValueError, match=r"Cell in_blocks \(True\) must be False where a cell sows losses"):
            jax.eval_shape(run, params)
    else:
        assert [loss.shape for loss in jax.tree.leaves(jax.eval_shape(run, params))] == [()]
