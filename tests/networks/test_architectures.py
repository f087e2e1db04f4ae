"""Architectures against compositions of their papers' equations in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import architectures
from memorax.networks.blocks import Stack
from memorax.networks.sequence_models import SequenceModel
from memorax.testing import check_close
from tests.networks.sequence_models import references_attention as reference
from tests.networks.sequence_models.references import Array, float64

FEATURES, DEPTH = 8, 3


def layers(params: Any) -> list[tuple[Any, Any]]:
    """The attention and the feedforward block of each repetition."""
    return [jax.tree.map(lambda x, i=i: x[i], (params["layers_0"], params["layers_1"])) for i in range(DEPTH)]


def gtrxl(params: Any, inputs: Array, done: Array) -> Array:
    """Parisotto et al. (2019), Section 3.2: `g(x, relu(block(norm(x))))` for attention and feedforward blocks."""
    x = reference.dense(params["layers_0"]["module"]["dense"], inputs)
    for attention, feedforward in layers(params["layers_1"]):
        norm, inner = attention["model"]["norm"], attention["model"]["model"]
        y = reference.transformer_xl(inner, reference.layer_norm(norm, x), done, memory_length=5)
        x = reference.gru_gate(attention, x, np.maximum(y, 0))
        norm, inner = feedforward["model"]["norm"], feedforward["model"]["model"]["module"]
        y = reference.ffn(inner, reference.layer_norm(norm, x), lambda hidden: np.maximum(hidden, 0))
        x = reference.gru_gate(feedforward, x, np.maximum(y, 0))
    return x


def gpt2(params: Any, inputs: Array, done: Array) -> Array:
    """Radford et al. (2019), Section 2.3: layer normalisation before each block, and once more at the end."""
    x = reference.learned_positions(
        params["layers_1"], reference.dense(params["layers_0"]["module"]["dense"], inputs), done
    )
    for attention, feedforward in layers(params["layers_2"]):
        norm, inner = attention["model"]["norm"], attention["model"]["model"]
        x = x + reference.attention(inner, reference.layer_norm(norm, x, 1e-5), done, num_heads=2, context_length=5)
        norm, inner = feedforward["model"]["norm"], feedforward["model"]["model"]["module"]
        x = x + reference.ffn(inner, reference.layer_norm(norm, x, 1e-5))
    return reference.layer_norm(params["layers_3"]["module"], x, 1e-5)


CASES: dict[str, tuple[SequenceModel, Callable[..., Array]]] = {
    "gtrxl": (architectures.gtrxl(FEATURES, DEPTH, num_heads=2, memory_length=5), gtrxl),
    "gpt2": (architectures.gpt2(FEATURES, DEPTH, num_heads=2, context_length=5, num_positions=9), gpt2),
}


@pytest.mark.parametrize("name", CASES)
def test_parity(name: str) -> None:
    model, run = CASES[name]
    rng = np.random.default_rng(0)
    inputs, done = rng.normal(size=(2, 20, 6)).astype(np.float32), rng.random((2, 20)) < 0.1
    carry = model.initialize_carry(jax.random.key(0), (2, 6))
    params = jax.jit(model.init)(jax.random.key(0), inputs[:, :1], done[:, :1], carry)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)
    _, outputs = jax.jit(model.apply)(params, inputs, done, carry)
    expected = [run(float64(params["params"]), float64(x), d) for x, d in zip(inputs, done, strict=True)]
    check_close(outputs, np.stack(expected), 2e-5)


@pytest.mark.parametrize(
    "make", [getattr(architectures, name) for name in ("gtrxl", "transformer_xl", "gpt2", "mamba", "s5")]
)
def test_parameters_grow_with_depth_and_layers_are_not_shared(make: Callable[..., Stack]) -> None:
    def shapes(depth: int) -> Any:
        model = make(FEATURES, depth)
        carry = model.initialize_carry(jax.random.key(0), (1, 3))
        inputs, done = jnp.zeros((1, 1, 3)), jnp.zeros((1, 1), bool)
        return jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), inputs, done, carry))

    def count(depth: int) -> int:
        return sum(leaf.size for leaf in shapes(depth))

    assert count(4) - count(3) == count(3) - count(2) > 0


@pytest.mark.parametrize(("depth", "blocks"), [(2, ["RR"]), (3, ["RRA"]), (7, ["RRARRA", "R"])])
def test_griffin_repeats_two_recurrences_and_an_attention(depth: int, blocks: list[str]) -> None:
    def letter(block: Stack) -> str:
        return "A" if type(block.layers[0].model.model).__name__ == "SelfAttention" else "R"

    _, *middle, _ = architectures.griffin(FEATURES, depth).layers
    whole = [stack for stack in middle if len(stack.layers) == 3]
    rest = middle[len(whole) :]
    seen = ["".join(map(letter, stack.layers)) * stack.depth for stack in whole]
    seen += ["".join(map(letter, rest))] if rest else []
    assert seen == blocks


def test_sizes_that_do_not_fit() -> None:
    for make in (architectures.gtrxl, architectures.griffin, architectures.xlstm, architectures.mamba):
        with pytest.raises(ValueError, match=r"depth \(0\) must be at least 1"):
            make(FEATURES, depth=0)
    with pytest.raises(ValueError, match=r"xlstm ratio \(0, 0\) must name at least one block"):
        architectures.xlstm(FEATURES, ratio=(0, 0))
    with pytest.raises(ValueError, match=r"num_heads \(3\) must divide features \(8\)"):
        architectures.gpt2(FEATURES, num_heads=3)
