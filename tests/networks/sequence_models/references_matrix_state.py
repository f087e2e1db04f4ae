"""The papers' recurrent equations of matrix-state models in float64 NumPy, step by step, for one sequence `[T, F]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.networks.sequence_models.references import rope, sigmoid, silu, softplus

Array = np.ndarray


def layer_norm(x: Array, epsilon: float, scale: Array | float = 1.0, bias: Array | float = 0.0) -> Array:
    """Each head of `[H, P]` by itself."""
    deviation = x - x.mean(-1, keepdims=True)
    return deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + epsilon) * scale + bias


def unit(x: Array, epsilon: float) -> Array:
    return x / np.sqrt((x**2).sum(-1, keepdims=True) + epsilon)


def mlstm(params: Any, inputs: Array, done: Array, num_heads: int) -> Array:
    """Beck et al. (2024), Eqs. 19-27 without the stabiliser: gates as they are, `max(|n^T q|, 1)`."""
    d_inner = params["down_proj"]["kernel"].shape[0]
    size = d_inner // num_heads
    projections = {}
    for name in "qkv":
        blocks, block = params[f"{name}_proj"], params[f"{name}_proj"].shape[-1]
        projections[name] = np.zeros((d_inner, d_inner))
        for i, matrix in enumerate(blocks):
            projections[name][i * block : (i + 1) * block, i * block : (i + 1) * block] = matrix
    kernel, outputs = params["conv_kernel"], []
    for u, first in zip(inputs, done, strict=True):
        if first or not outputs:
            memory, normalizer = np.zeros((num_heads, size, size)), np.zeros((num_heads, size))
            window = np.zeros_like(kernel)
        x, z = np.split(u @ params["up_proj"]["kernel"], 2)
        window = np.concatenate([window[1:], x[None]])
        convolved = silu((window * kernel).sum(0) + params["conv_bias"])
        q, k, v = convolved @ projections["q"], convolved @ projections["k"], x @ projections["v"]
        gates = np.concatenate([q, k, v]) @ params["gates_kernel"] + params["gates_bias"]
        i, f = np.exp(gates[:num_heads]), sigmoid(gates[num_heads:])
        q, k, v = (y.reshape(num_heads, size) for y in (q, k / np.sqrt(size), v))
        memory = f[:, None, None] * memory + i[:, None, None] * v[:, :, None] * k[:, None]
        normalizer = f[:, None] * normalizer + i[:, None] * k
        h = np.einsum("hpn,hn->hp", memory, q) / np.maximum(np.abs((normalizer * q).sum(-1)), 1)[:, None]
        h = layer_norm(h, 1e-5, params["norm"]["scale"]).reshape(-1) + params["skip"] * convolved
        outputs.append((h * silu(z)) @ params["down_proj"]["kernel"])
    return np.stack(outputs)


def elu_features(x: Array) -> Array:
    """Katharopoulos et al. (2020), Eq. 7."""
    return np.where(x > 0, x + 1, np.exp(x))


def dpfp_features(x: Array, nu: int = 3) -> Array:
    """Schlag et al. (2021), Eq. 37: `phi_{i nu}(k) = r_i r_{i - nu}` with `r = relu([k; -k])`."""
    features = []
    for head in x:
        r = np.maximum(np.concatenate([head, -head]), 0)
        features.append([r[i] * r[i - shift] for shift in range(1, nu + 1) for i in range(len(r))])
    return np.asarray(features) + 1e-6


def linear_attention(
    params: Any, inputs: Array, done: Array, num_heads: int, features: Callable[[Array], Array] = elu_features
) -> Array:
    """Katharopoulos et al. (2020), Eq. 9, as sums over what was seen, with rotated queries and keys."""
    seen: list[tuple[Array, Array]] = []
    outputs = []
    for x, first in zip(inputs, done, strict=True):
        seen = [] if first else seen
        query, key, value = (x @ params["qkv"]["kernel"]).reshape(3, num_heads, -1)
        seen.append((features(rope(key, len(seen))), value))
        query = features(rope(query, len(seen) - 1))
        weights = np.stack([(query * key).sum(-1) for key, _ in seen])
        values = np.stack([value for _, value in seen])
        y = np.einsum("th,thp->hp", weights, values) / weights.sum(0)[:, None]
        outputs.append(y.reshape(-1) @ params["out"]["kernel"])
    return np.stack(outputs)


def fwp(params: Any, inputs: Array, done: Array, num_heads: int) -> Array:
    """Schlag et al. (2021), Eqs. 17-19: the sum update rule, with DPFP."""
    return linear_attention(params, inputs, done, num_heads, dpfp_features)


def retnet(params: Any, inputs: Array, done: Array, num_heads: int) -> Array:
    """Sun et al. (2023), Eqs. 5, 6 and 8: the recurrent form of retention."""
    features = params["out"]["kernel"].shape[1]
    num_values = params["out"]["kernel"].shape[0]
    gamma, outputs = 1 - 2.0 ** (-5 - np.arange(num_heads)), []
    for x, first in zip(inputs, done, strict=True):
        if first or not outputs:
            state, position = np.zeros((num_heads, num_values // num_heads, features // num_heads)), 0
        parts = np.split(x @ params["qkvg"]["kernel"], np.cumsum([features, features, num_values]))
        q, k, v = (y.reshape(num_heads, -1) for y in parts[:3])
        q, k = rope(q, position), rope(k, position) / np.sqrt(features // num_heads)
        state, position = gamma[:, None, None] * state + v[:, :, None] * k[:, None], position + 1
        y = layer_norm(np.einsum("hpn,hn->hp", state, q), 1e-5).reshape(-1)
        outputs.append((silu(parts[3]) * y) @ params["out"]["kernel"])
    return np.stack(outputs)


def gla(params: Any, inputs: Array, done: Array, num_heads: int) -> Array:
    """Yang et al. (2023), Section 4."""
    d_k, features = params["alpha"]["kernel"].shape[1], params["out"]["kernel"].shape[1]
    outputs = []
    for x, first in zip(inputs, done, strict=True):
        if first or not outputs:
            state = np.zeros((num_heads, d_k // num_heads, features // num_heads))  # keys by values, as in the paper
        q, k, v, gate = np.split(x @ params["qkvg"]["kernel"], np.cumsum([d_k, d_k, features]))
        alpha = sigmoid(gate @ params["alpha"]["kernel"] + params["alpha"]["bias"]) ** (1 / 16)
        q, k, v, alpha = (y.reshape(num_heads, -1) for y in (q, k, v, alpha))
        state = alpha[:, :, None] * state + k[:, :, None] * v[:, None]
        y = np.einsum("hn,hnp->hp", q / np.sqrt(q.shape[-1]), state)
        y = layer_norm(y, 1e-5, params["norm"]["scale"]).reshape(-1)
        r = silu(x @ params["r"]["kernel"] + params["r"]["bias"])
        outputs.append((r * y) @ params["out"]["kernel"])
    return np.stack(outputs)


def delta_net(params: Any, inputs: Array, done: Array, num_heads: int) -> Array:
    """Schlag et al. (2021), Eqs. 20-25; Yang et al. (2025), Eq. 10, where the parameters have a decay."""
    kernel, outputs = params["conv_kernel"], []
    size = kernel.shape[1] // 3 // num_heads
    for x, first in zip(inputs, done, strict=True):
        if first or not outputs:
            state, window = np.zeros((num_heads, size, size)), np.zeros_like(kernel)
        window = np.concatenate([window[1:], (x @ params["qkv"]["kernel"])[None]])
        q, k, v = silu((window * kernel).sum(0)).reshape(3, num_heads, size)
        q, k = unit(q, 1e-6), unit(k, 1e-6)
        beta = sigmoid(x @ params["beta"]["kernel"])
        if "a" in params:
            dt = softplus(x @ params["a"]["kernel"] + params["dt_bias"])
            state = np.exp(-np.exp(params["A_log"]) * dt)[:, None, None] * state
        held = np.einsum("hpn,hn->hp", state, k)
        state = state + beta[:, None, None] * (v - held)[:, :, None] * k[:, None]
        y = np.einsum("hpn,hn->hp", state, q)
        y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-5) * params["norm"]["scale"]
        y = y.reshape(-1) * (silu(x @ params["g"]["kernel"]) if "g" in params else 1)
        outputs.append(y @ params["out"]["kernel"])
    return np.stack(outputs)


def rwkv7(params: Any, inputs: Array, done: Array, num_heads: int) -> Array:
    """Peng et al. (2025), Section 4.1: `S_t = S_{t-1} G_t + v^T k~` with the transition matrix `G_t` written out."""
    outputs: list[Array] = []
    for x, first in zip(inputs, done, strict=True):
        if first or not outputs:
            previous, size = np.zeros_like(x), params["rho"].size // num_heads
            state = np.zeros((num_heads, size, size))
        shifted = {name: x + (previous - x) * params[f"mu_{name}"] for name in "rkvwag"}
        previous = x
        r, k, v = (shifted[name] @ params[name]["kernel"] for name in "rkv")
        low_rank = {
            name: f(shifted[name] @ params[f"{name}_1"]["kernel"]) @ params[f"{name}_2"]["kernel"]
            for name, f in (("w", np.tanh), ("a", lambda y: y), ("g", sigmoid))
        }
        w = np.exp(-np.exp(-0.5) * sigmoid(params["b_w"] + low_rank["w"]))
        a = sigmoid(params["b_a"] + low_rank["a"])
        kappa = k * params["xi"]
        k = k * (1 - params["alpha"] + params["alpha"] * a)
        r, k, v, w, a, kappa, rho = (y.reshape(num_heads, -1) for y in (r, k, v, w, a, kappa, params["rho"]))
        kappa = unit(kappa, 1e-12)
        transition = np.stack([np.diag(w[h]) - np.outer(kappa[h], a[h] * kappa[h]) for h in range(num_heads)])
        state = state @ transition + v[:, :, None] * k[:, None]
        y = layer_norm(
            np.einsum("hpn,hn->hp", state, r), 1e-5 * r.shape[-1], params["norm"]["scale"], params["norm"]["bias"]
        )
        y = y + (r * k * rho).sum(-1, keepdims=True) * v
        outputs.append((y.reshape(-1) * low_rank["g"]) @ params["out"]["kernel"])
    return np.stack(outputs)
