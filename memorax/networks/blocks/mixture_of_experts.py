"""Mixture of experts: many feedforward networks, of which each step uses a few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from memorax.networks.dense import Dense
from memorax.types import Array
from memorax.validation import require_not_negative


class MoE(nn.Module):
    """Mixture of experts (Shazeer et al., 2017), routed as in Fedus et al. (2022, "Switch Transformers", Section 2.1).

        p(x) = softmax(W_r x)                                    Eq. 1, in float32
        output = sum over the top_k experts of p_i(x) FFN_i(x)   Eq. 2

    No step is dropped for want of capacity: what a step becomes would then depend on its neighbours in the batch.
    Every expert is computed at every step, so that `num_experts` multiplies the cost of an `FFN`.

    The load-balancing loss (Eq. 4 to 6) is sown as `load_balancing` into the collection `losses`, which every algorithm
    adds to its own and reports (`unroll_with_losses`): `load_balancing_coef` where the load is even, `num_experts`
    times as much at worst.

    Attributes:
        features: size of the outputs.
        num_experts: number of experts.
        top_k: number of experts that a step uses.
        hidden_features: size of an expert's hidden layer; four times `features` where None.
        activation: activation function after an expert's first layer.
        load_balancing_coef: weight of the load-balancing loss, alpha.
        dtype: dtype of the experts' computation.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_experts: int = 4
    top_k: int = 1
    hidden_features: int | None = None
    activation: Callable[[Array], Array] = nn.gelu
    load_balancing_coef: float = 0.01
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Check the sizes and the weight."""
        require_not_negative(self, "load_balancing_coef")
        if not 1 <= self.top_k <= self.num_experts:
            raise ValueError(f"MoE top_k ({self.top_k}) must lie between 1 and num_experts ({self.num_experts})")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """`[B, T, features]` of `[B, T, F]`."""
        width = self.hidden_features or 4 * self.features
        router = Dense(self.num_experts, use_bias=False, dtype=jnp.float32, param_dtype=self.param_dtype, name="router")
        probabilities = nn.softmax(router(inputs.astype(jnp.float32)))
        chosen = choose(probabilities, self.top_k)
        if not self.is_initializing():
            self.sow("losses", "load_balancing", self.load_balancing_coef * load_balancing_loss(probabilities, chosen))

        w_1, b_1 = self._layer("1", inputs.shape[-1], width)
        w_2, b_2 = self._layer("2", width, self.features)
        gates = jnp.where(chosen, probabilities, 0.0)
        inputs, w_1, b_1, w_2, b_2 = promote_dtype(inputs, w_1, b_1, w_2, b_2, dtype=self.dtype)
        hidden = self.activation(jnp.einsum("btf,efh->bteh", inputs, w_1) + b_1[None, None])
        experts = jnp.einsum("bteh,ehd->bted", hidden, w_2) + b_2[None, None]
        return jnp.einsum("bte,bted->btd", gates.astype(experts.dtype), experts)

    def _layer(self, name: str, inputs: int, outputs: int) -> tuple[Array, Array]:
        kernel_init = nn.initializers.lecun_normal(batch_axis=0)
        kernel = self.param(f"W_{name}", kernel_init, (self.num_experts, inputs, outputs), self.param_dtype)
        bias = self.param(f"b_{name}", nn.initializers.zeros, (self.num_experts, outputs), self.param_dtype)
        return kernel, bias


def choose(probabilities: Array, top_k: int) -> Array:
    """Which experts are the `top_k` most probable: bool `[..., E]` of `[..., E]`; exactly `top_k` of them."""
    _, indices = jax.lax.top_k(probabilities, top_k)
    return jax.nn.one_hot(indices, probabilities.shape[-1], dtype=bool).any(axis=-2)


def load_balancing_loss(probabilities: Array, chosen: Array) -> Array:
    """How uneven the load of the experts is (Fedus et al., 2022, Eq. 4 to 6): a scalar, 1 where it is even.

    Args:
        probabilities: probability of each expert, `[..., E]`.
        chosen: which experts are used, bool `[..., E]`.
    """
    axes = tuple(range(chosen.ndim - 1))
    fraction = jnp.mean(chosen / chosen.sum(axis=-1, keepdims=True), axis=axes)
    return chosen.shape[-1] * jnp.sum(fraction * jnp.mean(probabilities, axis=axes))
