"""Blocks against their papers' equations, and what a user who gets one wrong is told."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import (
    FFN,
    GLU,
    MLP,
    RNN,
    FrameStack,
    Gated,
    GatedResidual,
    MoE,
    PostNorm,
    PreNorm,
    Projection,
    Residual,
    RL2Wrapper,
    Stack,
)
from memorax.networks.sequence_models import SequenceModel, SequenceModelWrapper
from memorax.testing import check_close
from tests.networks.sequence_models import references_attention as reference
from tests.networks.sequence_models.references import float64, sigmoid

FEATURES = 6


def run(model: SequenceModel, num_steps: int = 10) -> tuple:
    """Perturbed parameters (none left at zero or one), inputs, resets and outputs of a batch of two."""
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(2, num_steps, FEATURES)), jnp.float32)
    done = jnp.asarray(rng.random((2, num_steps)) < 0.3)
    carry = model.initialize_carry(jax.random.key(0), (2, FEATURES))
    params = jax.jit(model.init)(jax.random.key(0), inputs[:, :1], done[:, :1], carry)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)
    (_, outputs), sown = jax.jit(lambda *xs: model.apply(*xs, mutable=["losses"]))(params, inputs, done, carry)
    return float64(params.get("params", {})), np.asarray(inputs, np.float64), np.asarray(done), outputs, sown


def close(outputs: Any, expected: Any) -> None:
    check_close(outputs, expected)


def test_residuals_and_normalisation_around_layers_without_memory() -> None:
    block = Stack((Residual(PreNorm(FFN(FEATURES))), PostNorm(Residual(GLU(FEATURES))), Projection(3)))
    params, x, _, outputs, _ = run(block)
    first, second = params["layers_0"]["model"], params["layers_1"]
    x = x + reference.ffn(first["model"]["module"], reference.layer_norm(first["norm"], x))
    x = reference.layer_norm(second["norm"], x + reference.glu(second["model"]["model"]["module"], x))
    close(outputs, reference.dense(params["layers_2"]["module"]["dense"], x))


def test_gates_of_two_branches_and_of_the_inputs_themselves() -> None:
    params, x, _, outputs, _ = run(Stack((Gated(nn.Dense(4)), GLU(4, project_values=False))))
    first, second = params["layers_0"], params["layers_1"]["module"]
    x = reference.gelu(reference.dense(first["gate"], x)) * reference.dense(first["model"]["module"], x)
    close(outputs, sigmoid(reference.dense(second["WV"], x)) * x)


def test_gated_residual_is_the_gate_of_gtrxl() -> None:
    params, x, _, outputs, _ = run(GatedResidual(nn.Dense(FEATURES)))
    y = np.maximum(reference.dense(params["model"]["module"], x), 0)
    close(outputs, reference.gru_gate(params, x, y))


def test_a_gate_with_a_large_bias_passes_its_inputs() -> None:
    model = GatedResidual(nn.Dense(FEATURES), bias=20.0)
    x = jax.random.normal(jax.random.key(0), (2, 3, FEATURES))
    (_, outputs), _ = jax.jit(model.init_with_output)(jax.random.key(1), x, jnp.zeros((2, 3), bool), ())
    check_close(outputs, x, 1e-6)


@pytest.mark.parametrize("top_k", [1, 2])
def test_mixture_of_experts_routes_and_balances_as_published(top_k: int) -> None:
    params, x, _, outputs, sown = run(Stack((Residual(MoE(FEATURES, num_experts=3, top_k=top_k)),)))
    inner = params["layers_0"]["model"]["module"]
    expected, loss = reference.mixture_of_experts(inner, x.reshape(-1, FEATURES), top_k)
    close(outputs, x + expected.reshape(x.shape))
    close(sown["losses"]["layers_0"]["model"]["module"]["load_balancing"][0], 0.01 * loss)


def test_the_load_balancing_loss_of_repeated_layers_is_sown_once_a_layer_and_never_stored() -> None:
    stack = Stack((Residual(MoE(FEATURES, num_experts=3)),), depth=2)
    inputs, done = jnp.ones((1, 2, FEATURES)), jnp.zeros((1, 2), bool)
    carry = stack.initialize_carry(jax.random.key(0), (1, FEATURES))
    variables = jax.jit(stack.init)(jax.random.key(0), inputs, done, carry)
    assert set(variables) == {"params"}
    apply = functools.partial(stack.apply, inputs=inputs, done=done, carry=carry)

    def balance(params: Any) -> jax.Array:
        _, sown = apply(params, mutable=["losses"])
        (losses,) = jax.tree.leaves(sown)
        assert losses.shape == (2,)
        return losses.sum()

    gradient = jax.jit(jax.grad(balance))(variables)["params"]["layers_0"]["model"]["module"]
    assert all(float(jnp.abs(layer).max()) > 0 for layer in gradient["router"]["kernel"])
    assert apply(variables)[1].shape == inputs.shape


def test_repeated_layers_are_the_layers_one_after_another() -> None:
    layer = Residual(PreNorm(RNN(nn.GRUCell(FEATURES))))
    stack = Stack((layer,), depth=3)
    params, x, done, outputs, _ = run(stack)
    for i in range(3):
        own = jax.tree.map(lambda leaf, i=i: leaf[i].astype(np.float32), params["layers_0"])
        carry = layer.initialize_carry(jax.random.key(0), (2, FEATURES))
        _, x = layer.apply({"params": own}, jnp.asarray(x, jnp.float32), done, carry)
    close(outputs, x)
    kernels = params["layers_0"]["model"]["model"]["cell"]["hr"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1], atol=0.3), "each layer is initialised by itself"
    for kernel in kernels:  # orthogonal, but for the perturbation
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(FEATURES), atol=1.0)


def test_a_stack_knows_how_wide_its_layers_are() -> None:
    stack = Stack((nn.Dense(3), FrameStack(2), RNN(nn.GRUCell(5)), FrameStack(3), nn.Dense(2)))
    carry = stack.initialize_carry(jax.random.key(0), (7, FEATURES))
    assert jax.tree.map(jnp.shape, carry) == ((), (7, 1, 3), (7, 5), (7, 2, 5), ())


class Counted(SequenceModelWrapper):
    """A layer that counts how often it is traced."""

    def __call__(self, inputs: Any, done: Any, carry: Any) -> Any:
        TRACED.append(inputs.shape)
        return super().__call__(inputs, done, carry)


TRACED: list[Any] = []


def test_layers_are_traced_as_often_however_deep_they_are_nested() -> None:
    def traced(depth: int) -> int:
        model: Any = Stack((Counted(nn.Dense(FEATURES)), Projection(FEATURES)))
        for _ in range(depth):
            model = Stack((Gated(PreNorm(PostNorm(model))), Residual(Projection(FEATURES))))
        TRACED.clear()
        model.initialize_carry(jax.random.key(0), (2, FEATURES))
        return len(TRACED)

    assert traced(1) > 0
    assert traced(5) <= 5 * traced(1)


@pytest.mark.parametrize(
    "block",
    [
        Gated(nn.Dense(4)),
        PreNorm(nn.Dense(4)),
        PostNorm(nn.Dense(4)),
        Residual(nn.Dense(FEATURES)),
        GatedResidual(nn.Dense(FEATURES)),
        Stack((nn.Dense(3), Gated(nn.Dense(4)))),
    ],
)
def test_a_block_knows_how_wide_it_is(block: SequenceModel) -> None:
    assert block.output_features((2, FEATURES)) == SequenceModel.output_features(block, (2, FEATURES))


def test_frame_stack_holds_the_last_inputs_of_the_episode() -> None:
    _, x, done, outputs, _ = run(FrameStack(3))
    for b in range(2):
        seen: list[np.ndarray] = []
        for t in range(x.shape[1]):
            seen = [*([] if done[b, t] else seen), x[b, t]]
            frames = [np.zeros(FEATURES)] * 3 + seen
            close(outputs[b, t], np.concatenate(frames[-3:]))


@pytest.mark.parametrize("episodes_per_trial", [1, 3])
def test_rl2_resets_at_the_start_of_a_trial_alone(episodes_per_trial: int) -> None:
    model = RL2Wrapper(RNN(nn.GRUCell(4)), episodes_per_trial)
    params, x, done, outputs, _ = run(model, num_steps=30)
    starts = np.zeros_like(done)
    for b in range(2):
        starts[b, np.flatnonzero(done[b])[::episodes_per_trial]] = True
    carry = model.model.initialize_carry(jax.random.key(0), (2, FEATURES))
    inner = jax.tree.map(lambda leaf: leaf.astype(np.float32), params["model"])
    _, expected = model.model.apply({"params": inner}, jnp.asarray(x, jnp.float32), starts, carry)
    close(outputs, expected)


def test_rl2_counts_episodes_across_calls() -> None:
    model = RL2Wrapper(nn.Dense(4), episodes_per_trial=2)
    carry = model.initialize_carry(jax.random.key(0), (1, 3))
    counts = []
    for done in (False, True, False, True, True, False):
        carry, _ = model.init_with_output(jax.random.key(0), jnp.ones((1, 1, 3)), jnp.array([[done]]), carry)[0]
        counts.append(int(carry.num_episodes[0]))
    assert counts == [0, 1, 1, 0, 1, 1]


def test_rl2_starts_an_episode_that_is_a_trial_from_its_initial_carry() -> None:
    """Its count too, so that a start that is marked and one that is not lead to the same carry."""
    model = RL2Wrapper(RNN(nn.GRUCell(4)), episodes_per_trial=1)
    x, carry = jnp.ones((2, 3, FEATURES)), model.initialize_carry(jax.random.key(0), (2, FEATURES))
    never = jnp.zeros((2, 3), bool)
    params = model.init(jax.random.key(1), x, never, carry)
    unmarked, _ = model.apply(params, x, never, carry)
    marked, _ = model.apply(params, x, never.at[:, 0].set(True), carry)
    jax.tree.map(np.testing.assert_array_equal, marked, unmarked)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"Stack depth \(0\) must be at least 1"):
        Stack((nn.Dense(3),), depth=0)
    with pytest.raises(ValueError, match=r"Stack layers \(\) must have at least one"):
        Stack(())
    with pytest.raises(ValueError, match=r"MoE top_k \(3\) must lie between 1 and num_experts \(2\)"):
        MoE(4, num_experts=2, top_k=3)
    with pytest.raises(ValueError, match=r"load_balancing_coef \(-1.0\) must not be negative"):
        MoE(4, load_balancing_coef=-1.0)
    with pytest.raises(ValueError, match=r"FrameStack num_frames \(0\) must be at least 1"):
        FrameStack(0)
    with pytest.raises(ValueError, match=r"RL2Wrapper episodes_per_trial \(0\) must be at least 1"):
        RL2Wrapper(MLP(3), 0)


@pytest.mark.parametrize("block", [Residual, GatedResidual])
def test_a_residual_around_what_changes_the_width(block: type[SequenceModel]) -> None:
    with pytest.raises(ValueError, match=rf"{block.__name__} model returns 4 features for 6: both must be alike"):
        run(block(nn.Dense(4)))


def test_repeating_what_changes_the_width() -> None:
    with pytest.raises(ValueError, match=r"Stack layers return 4 features for 6: to repeat them 2 times"):
        run(Stack((nn.Dense(4),), depth=2))


def test_a_carry_of_another_batch_size() -> None:
    stack = Stack((RNN(nn.GRUCell(FEATURES)),), depth=2)
    carry = stack.initialize_carry(jax.random.key(0), (5, FEATURES))
    with pytest.raises(ValueError, match=r"carry has a leaf of shape \(5, 6\), expected a batch size of 3"):
        stack.init(jax.random.key(0), jnp.zeros((3, 1, FEATURES)), jnp.zeros((3, 1), bool), carry)
