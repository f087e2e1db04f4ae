"""The papers' equations in float64 NumPy, step by step, for one sequence `[T, F]` at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def float64(tree: Any) -> Any:
    """The leaves of a (nested) dictionary in double precision."""
    if isinstance(tree, dict):
        return {name: float64(leaf) for name, leaf in tree.items()}
    return np.asarray(tree, np.complex128 if np.iscomplexobj(tree) else np.float64)


def batch(run: Callable[..., Array], params: Any, inputs: Array, done: Array, *options: Any) -> Array:
    """`run(params, inputs [T, F], done [T])` for each sequence of a batch."""
    params = float64(params)
    return np.stack([run(params, x, d, *options) for x, d in zip(float64(inputs), np.asarray(done), strict=True)])


def gru(params: Any, inputs: Array, done: Array) -> Array:
    """Cho et al. (2014), in the variant of Flax: the reset gate acts on the recurrent product."""
    h, outputs = np.zeros(params["hr"]["kernel"].shape[0]), []
    for x, first in zip(inputs, done, strict=True):
        h = np.zeros_like(h) if first else h
        r, z, n = (x @ params[f"i{gate}"]["kernel"] + params[f"i{gate}"]["bias"] for gate in "rzn")
        r = sigmoid(r + h @ params["hr"]["kernel"])
        z = sigmoid(z + h @ params["hz"]["kernel"])
        n = np.tanh(n + r * (h @ params["hn"]["kernel"] + params["hn"]["bias"]))
        h = (1 - z) * n + z * h
        outputs.append(h)
    return np.stack(outputs)


def lstm(params: Any, inputs: Array, done: Array) -> Array:
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000)."""
    h = np.zeros(params["hi"]["kernel"].shape[0])
    c, outputs = np.zeros_like(h), []
    for x, first in zip(inputs, done, strict=True):
        h, c = (np.zeros_like(h), np.zeros_like(c)) if first else (h, c)
        i, f, g, o = (
            x @ params[f"i{gate}"]["kernel"] + h @ params[f"h{gate}"]["kernel"] + params[f"h{gate}"]["bias"]
            for gate in "ifgo"
        )
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


def lru(params: Any, inputs: Array, done: Array) -> Array:
    """Orvieto et al. (2023), Eq. 7 and Appendix A."""
    eigenvalues = np.exp(-np.exp(params["nu_log"]) + 1j * np.exp(params["theta_log"]))
    b, c = params["B_re"] + 1j * params["B_im"], params["C_re"] + 1j * params["C_im"]
    h, outputs = np.zeros(b.shape[1], complex), []
    for x, first in zip(inputs, done, strict=True):
        h = eigenvalues * (0 if first else h) + np.exp(params["gamma_log"]) * (x @ b)
        outputs.append((h @ c).real + x @ params["D"])
    return np.stack(outputs)


def min_gru(params: Any, inputs: Array, done: Array) -> Array:
    """Feng et al. (2024), log-space form: sequential mode."""
    h, outputs = np.zeros(params["z"]["kernel"].shape[1]), []
    for x, first in zip(inputs, done, strict=True):
        z = sigmoid(x @ params["z"]["kernel"] + params["z"]["bias"])
        candidate = x @ params["h"]["kernel"] + params["h"]["bias"]
        candidate = np.where(candidate >= 0, candidate + 0.5, sigmoid(candidate))
        h = (1 - z) * (0 if first else h) + z * candidate
        outputs.append(h)
    return np.stack(outputs)


def mamba(params: Any, inputs: Array, done: Array, num_heads: int, d_state: int) -> Array:
    """Gu & Dao (2023), Algorithm 2, with a scalar A per head (Dao & Gu, 2024): one state update per step."""
    d_inner = params["out_proj"]["kernel"].shape[0]
    a, kernel = -np.exp(params["A_log"]), params["conv_kernel"]
    state, window, outputs = np.zeros((num_heads, d_inner // num_heads, d_state)), np.zeros_like(kernel), []
    for u, first in zip(inputs, done, strict=True):
        if first:
            state, window = np.zeros_like(state), np.zeros_like(window)
        z, xbc, dt = np.split(u @ params["in_proj"]["kernel"], [d_inner, 2 * d_inner + 2 * d_state])
        window = np.concatenate([window[1:], xbc[None]])
        x, b, c = np.split(silu((window * kernel).sum(0) + params["conv_bias"]), [d_inner, d_inner + d_state])
        x, dt = x.reshape(num_heads, -1), softplus(dt + params["dt_bias"])
        state = np.exp(dt * a)[:, None, None] * state + (dt[:, None] * x)[:, :, None] * b
        y = (state @ c + params["D"][:, None] * x).reshape(-1) * silu(z)
        y = y / np.sqrt((y**2).mean() + 1e-6) * params["norm"]["scale"]
        outputs.append(y @ params["out_proj"]["kernel"])
    return np.stack(outputs)


def rope(x: Array, position: int, base: float = 10_000.0) -> Array:
    """Su et al. (2021), Eq. 34: the pairs `(i, i + D/2)` of `[..., D]` as complex numbers, turned."""
    first, second = np.split(x, 2, axis=-1)
    angle = position * base ** (-2 * np.arange(first.shape[-1]) / x.shape[-1])
    turned = (first + 1j * second) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def attention(params: Any, inputs: Array, done: Array, num_heads: int, context_length: int) -> Array:
    """Vaswani et al. (2017), Eq. 1, over a list of what was seen in the episode."""
    seen: list[tuple[Array, Array]] = []
    outputs = []
    for x, first in zip(inputs, done, strict=True):
        seen = [] if first else seen
        query, key, value = (x @ params["qkv"]["kernel"]).reshape(3, num_heads, -1)
        seen.append((rope(key, len(seen)), value))
        query = rope(query, len(seen) - 1)
        keys, values = (np.stack(part) for part in zip(*seen[-context_length:], strict=True))
        scores = np.einsum("hd,khd->hk", query, keys) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights = weights / weights.sum(-1, keepdims=True)
        outputs.append(np.einsum("hk,khd->hd", weights, values).reshape(-1) @ params["out"]["kernel"])
    return np.stack(outputs)
