"""Attention and composition in float64 NumPy, step by step, for one sequence `[T, F]` at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.networks.sequence_models.references import Array, sigmoid


def dense(params: Any, x: Array) -> Array:
    return x @ params["kernel"] + params.get("bias", 0.0)


def gelu(x: Array) -> Array:
    """Hendrycks & Gimpel (2016), the tanh approximation."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x: Array) -> Array:
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def layer_norm(params: Any, x: Array, epsilon: float = 1e-6) -> Array:
    """Ba et al. (2016), Eq. 4."""
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + epsilon) * params["scale"] + params["bias"]


def ffn(params: Any, x: Array, activation: Callable[[Array], Array] = gelu) -> Array:
    """Vaswani et al. (2017), Eq. 2."""
    return dense(params["W_2"], activation(dense(params["W_1"], x)))


def glu(params: Any, x: Array) -> Array:
    """Dauphin et al. (2017), Eq. 1: the gate's columns first."""
    kernel, bias = params["WV"]["kernel"], params["WV"]["bias"]
    half = bias.size // 2
    return sigmoid(x @ kernel[:, :half] + bias[:half]) * (x @ kernel[:, half:] + bias[half:])


def gru_gate(params: Any, x: Array, y: Array) -> Array:
    """Parisotto et al. (2019), "Gated-Recurrent-Unit-type gating" of Section 3.2."""
    w_r, w_z, w_g = np.split(params["W"]["kernel"], 3, axis=1)
    u_r, u_z = np.split(params["U_rz"]["kernel"], 2, axis=1)
    r = sigmoid(y @ w_r + x @ u_r)
    z = sigmoid(y @ w_z + x @ u_z - params["b_g"])
    h = np.tanh(y @ w_g + (r * x) @ params["U_g"]["kernel"])
    return (1 - z) * x + z * h


def mixture_of_experts(params: Any, inputs: Array, top_k: int) -> tuple[Array, float]:
    """Fedus et al. (2022), Eq. 1 and 2 step by step, and the loss of Eq. 4 to 6 with a factor of 1."""
    num_experts = params["W_1"].shape[0]
    counts, total, outputs = np.zeros(num_experts), np.zeros(num_experts), []
    for x in inputs:
        p = softmax(x @ params["router"]["kernel"])
        total += p
        output = np.zeros(params["b_2"].shape[1])
        for i in sorted(range(num_experts), key=lambda i: -p[i])[:top_k]:
            counts[i] += 1 / top_k
            hidden = gelu(x @ params["W_1"][i] + params["b_1"][i])
            output += p[i] * (hidden @ params["W_2"][i] + params["b_2"][i])
        outputs.append(output)
    steps = len(inputs)
    return np.stack(outputs), num_experts * float((counts / steps) @ (total / steps))


def multi_head(query: Array, keys: Array, values: Array, bias: Array | float = 0.0) -> Array:
    """Vaswani et al. (2017), Eq. 1: `[H, D]` over `[K, H, D]`, with `bias` `[H, K]` on the scores."""
    weights = softmax(np.einsum("hd,khd->hk", query, keys) / np.sqrt(query.shape[-1]) + bias)
    return np.einsum("hk,khd->hd", weights, values)


def attention(params: Any, inputs: Array, done: Array, num_heads: int, context_length: int) -> Array:
    """Vaswani et al. (2017), Eq. 1, of inputs that know their positions."""
    seen: list[tuple[Array, Array]] = []
    outputs = []
    for x, first in zip(inputs, done, strict=True):
        query, key, value = dense(params["qkv"], x).reshape(3, num_heads, -1)
        seen = [*([] if first else seen), (key, value)][-context_length:]
        keys, values = (np.stack(part) for part in zip(*seen, strict=True))
        outputs.append(dense(params["out"], multi_head(query, keys, values).reshape(-1)))
    return np.stack(outputs)


def grouped_alibi(
    params: Any, inputs: Array, done: Array, num_heads: int, num_kv_heads: int, context_length: int
) -> Array:
    """Press et al. (2022), Section 3, with the shared heads of Ainslie et al. (2023), Section 2.2."""
    seen: list[tuple[Array, Array]] = []
    outputs, head_dim = [], params["out"]["kernel"].shape[0] // num_heads
    slopes = np.array([2 ** (-8 * (h + 1) / num_heads) for h in range(num_heads)])
    for x, first in zip(inputs, done, strict=True):
        query, key, value = np.split(
            dense(params["qkv"], x), np.array([num_heads, num_heads + num_kv_heads]) * head_dim
        )
        key, value = (np.repeat(y.reshape(num_kv_heads, head_dim), num_heads // num_kv_heads, 0) for y in (key, value))
        seen = [*([] if first else seen), (key, value)][-context_length:]
        keys, values = (np.stack(part) for part in zip(*seen, strict=True))
        bias = -slopes[:, None] * np.arange(len(seen))[::-1]
        attended = multi_head(query.reshape(num_heads, head_dim), keys, values, bias)
        outputs.append(dense(params["out"], attended.reshape(-1)))
    return np.stack(outputs)


def transformer_xl(params: Any, inputs: Array, done: Array, memory_length: int) -> Array:
    """Dai et al. (2019), Section 3.3, term by term, over a list of what was seen in the episode."""
    seen: list[Array] = []
    outputs, (u, v) = [], (params["u"], params["v"])
    num_heads, head_dim = u.shape
    features = num_heads * head_dim

    def sinusoid(distance: int) -> Array:
        angles = distance / 10_000 ** (np.arange(0, features, 2) / features)
        return np.concatenate([np.sin(angles), np.cos(angles)])

    def project(name: str, x: Array) -> Array:
        return np.einsum("f,fhd->hd", x, params[name])

    for x, first in zip(inputs, done, strict=True):
        seen = [*([] if first else seen), x][-memory_length:]
        query = dense(params["W_q"], x).reshape(num_heads, head_dim)
        scores = np.zeros((num_heads, len(seen)))
        for j, past in enumerate(seen):
            key, position = project("W_k", past), project("W_r", sinusoid(len(seen) - 1 - j))
            terms = query * key + query * position + u * key + v * position
            scores[:, j] = terms.sum(-1) / np.sqrt(head_dim)
        values = np.stack([project("W_v", past) for past in seen])
        attended = np.einsum("hk,khd->hd", softmax(scores), values)
        outputs.append(dense(params["W_o"], attended.reshape(-1)))
    return np.stack(outputs)


def learned_positions(params: Any, inputs: Array, done: Array) -> Array:
    """Gehring et al. (2017), Section 3.1: `x_t + p_t`, the last vector for all later positions."""
    position, outputs = -1, []
    for x, first in zip(inputs, done, strict=True):
        position = 0 if first else position + 1
        outputs.append(x + params["embedding"][min(position, len(params["embedding"]) - 1)])
    return np.stack(outputs)
