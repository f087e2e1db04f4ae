"""Torsos by name: any width works or is refused in one line."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import MLP, TORSOS, GLACell, MambaCell, Memoroid, SHMCell, ViT, heads, sLSTMCell
from memorax.networks.architectures import gpt2, griffin, mamba, s5, xlstm
from memorax.networks.blocks import PostNorm, PreNorm, Projection, Residual, Stack
from memorax.networks.sequence_models import DeltaNetCell, FFMCell, GatedDeltaNetCell, MinGRUCell, RWKV7Cell, mLSTMCell
from memorax.types import Array, Key


def run(name: str, features: int) -> Any:
    def outputs(key: Any) -> Any:
        model = TORSOS[name](features)
        carry = model.initialize_carry(key, (1, 5))
        return model.init_with_output(key, jnp.ones((1, 2, 5)), jnp.zeros((1, 2), bool), carry)[0][1]

    return jax.eval_shape(outputs, jax.random.key(0))


@pytest.mark.parametrize("name", TORSOS)
def test_a_torso_is_as_wide_as_asked_for_or_says_what_it_needs(name: str) -> None:
    for features in (-1, 0, 1, 2, 3, 7):
        try:
            assert run(name, features).shape[-1] == features
        except ValueError as error:
            assert "features" in str(error) and "\n" not in str(error)
        else:
            assert features > 0


@pytest.mark.parametrize("features", [0, (), (4, 0), -3])
def test_an_mlp_has_layers_of_at_least_one_feature(features: Any) -> None:
    with pytest.raises(ValueError, match="must name widths of at least 1"):
        MLP(features)


def responses(model: nn.Module) -> tuple[list[float], list[float]]:
    """How far outputs differ at the first step, which alone differs, and at the last, for some first parameters."""
    later = jax.random.normal(jax.random.key(0), (1, 2, 3))
    inputs = jnp.concatenate([jax.random.normal(jax.random.key(1), (8, 1, 3)), jnp.repeat(later, 8, axis=0)], axis=1)
    carry = model.initialize_carry(jax.random.key(0), (8, 3))

    @jax.jit
    def spread(key: Key) -> Array:
        outputs = model.init_with_output(key, inputs, jnp.zeros((8, 3), bool), carry)[0][1]
        return outputs.std(axis=0).max(axis=-1)  # (T,)

    # A rectifier may be silent by chance of the parameters.
    spreads = np.stack([spread(jax.random.key(seed)) for seed in range(6)])
    return spreads[:, 0].tolist(), spreads[:, -1].tolist()


@pytest.mark.parametrize("features", [1, 2, 4, *(pytest.param(size, marks=pytest.mark.slow) for size in (3, 8))])
@pytest.mark.parametrize("name", TORSOS)
def test_a_torso_responds_to_earlier_inputs_or_is_refused(name: str, features: int) -> None:
    try:
        now, later = responses(TORSOS[name](features))
    except ValueError as error:
        assert "features" in str(error) and "\n" not in str(error)
        return
    assert max(now) > 1e-3
    assert name == "mlp" or max(later) > 1e-5


ONE_FEATURE = "must be at least 2: of one feature a norm leaves at most the sign, use more features"

CONSTANT: dict[str, tuple[Any, str]] = {
    "slstm": (lambda: sLSTMCell(4), "sLSTMCell features / num_heads (4 / 4)"),
    "xlstm": (lambda: xlstm(4, num_heads=4), "sLSTMCell features / num_heads (4 / 4)"),
    "rwkv7": (lambda: RWKV7Cell(2, num_heads=2), "RWKV7Cell features / num_heads (2 / 2)"),
    "gla": (lambda: GLACell(2, num_heads=2, key_features=2), "GLACell features / num_heads (2 / 2)"),
    "deltanet": (lambda: DeltaNetCell(4), "DeltaNetCell features / num_heads (4 / 4)"),
    "ffm": (lambda: FFMCell(1), "FFMCell features (1)"),
    "mamba": (lambda: MambaCell(1, expand=1, head_dim=1), "MambaCell expand * features (1 * 1)"),
    "mamba_stack": (lambda: mamba(1, head_dim=1), "mamba features (1)"),
    "griffin": (lambda: griffin(1, depth=2, num_heads=1), "griffin features (1)"),
    "gpt2": (lambda: responses(gpt2(1, num_heads=1)), "LayerNorm features (1)"),
    "s5": (lambda: responses(s5(1, state_dim=2)), "LayerNorm features (1)"),
    "shm": (lambda: responses(Stack((Projection(1), Memoroid(SHMCell(4))))), "SHMCell features of the inputs (1)"),
    "pre_norm": (
        lambda: responses(Stack((Projection(1), Residual(PreNorm(Memoroid(MinGRUCell(1))))))),
        "LayerNorm features (1)",
    ),
    "post_norm": (lambda: responses(PostNorm(Memoroid(MinGRUCell(1)))), "LayerNorm features (1)"),
    "norm": (lambda: responses(Stack((Memoroid(MinGRUCell(1)), nn.LayerNorm()))), "LayerNorm features (1)"),
    "vit": (lambda: ViT(1, num_heads=1), "ViT features (1)"),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_what_normalises_one_feature_is_refused(name: str) -> None:
    make, message = CONSTANT[name]
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value).startswith(f"{message} {ONE_FEATURE}") and "\n" not in str(error.value)


def test_hidden_layers_of_one_feature_are_not_normalised_in_an_encoder() -> None:
    with pytest.raises(ValueError, match=r"^MLP features \(\(8, 1\)\) must be at least 2: .*, use wider layers or "):
        MLP((8, 1), layer_norm=True)
    MLP((8, 1))


@pytest.mark.parametrize(
    "head",
    [heads.VNetwork, lambda **sizes: heads.HordeHead(2, **sizes), heads.ContinuousQNetwork, heads.DuelingQNetwork],
)
def test_hidden_layers_of_one_feature_are_not_normalised(head: Any) -> None:
    with pytest.raises(ValueError, match=r"hidden_features \(8, 1\) must be at least 2: .* or layer_norm=False$"):
        head(**{"action_dim": 2} if head is heads.DuelingQNetwork else {}, hidden_features=(8, 1), layer_norm=True)


@pytest.mark.parametrize(
    "model",
    [
        Memoroid(mLSTMCell(4, num_heads=8)),
        Memoroid(GatedDeltaNetCell(2, num_heads=2)),
        Stack((Projection(1), Residual(PreNorm(Memoroid(MinGRUCell(1)), nn.RMSNorm())))),
    ],
    ids=["skip", "gate", "sign"],
)
def test_a_norm_of_one_feature_that_something_passes_by_is_accepted(model: nn.Module) -> None:
    now, later = responses(model)
    assert min(max(now), max(later)) > 1e-3
