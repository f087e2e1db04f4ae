"""Attention and composition in float64 NumPy, step by step, for one sequence `[T, F]` at a time."""

from __future__ import annotations

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


def layer_norm(params: Any, x: Array) -> Array:
    """Ba et al. (2016), Eq. 4."""
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6) * params["scale"] + params["bias"]


def ffn(params: Any, x: Array) -> Array:
    """Vaswani et al. (2017), Eq. 2, with a GELU."""
    return dense(params["W_2"], gelu(dense(params["W_1"], x)))


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
