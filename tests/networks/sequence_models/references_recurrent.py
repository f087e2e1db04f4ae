"""More of the papers' equations in float64 NumPy, step by step, for one sequence `[T, F]` at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.networks.sequence_models.references import Array, sigmoid, silu, softplus


def dense(layer: Any, x: Array) -> Array:
    return x @ layer["kernel"] + layer.get("bias", 0)


def log_sigmoid(x: Array) -> Array:
    return -softplus(-x)


def positive(x: Array) -> Array:
    """Feng et al. (2024), log-space form: g."""
    return np.where(x >= 0, x + 0.5, sigmoid(x))


def slstm(params: Any, inputs: Array, done: Array, num_heads: int) -> Array:
    """Beck et al. (2024), Eqs. 8-14 without a stabilizer: float64 needs none for moderate gates."""
    size, width = params["bias"].shape[1], params["conv_kernel"].shape[0]
    window, outputs = np.zeros((width, inputs.shape[1])), []
    c, n, h = np.zeros(size), np.zeros(size), np.zeros(size)
    for x, first in zip(inputs, done, strict=True):
        if first:
            window, c, n, h = np.zeros_like(window), np.zeros(size), np.zeros(size), np.zeros(size)
        window = np.concatenate([window[1:], x[None]])
        convolved = silu((window * params["conv_kernel"]).sum(0) + params["conv_bias"])
        projected = np.concatenate([dense(params["convolved"], convolved), dense(params["inputs"], x)]).reshape(4, size)
        heads = h.reshape(num_heads, -1)
        recurrent = np.einsum("ni,gnij->gnj", heads, params["recurrent"]).reshape(4, size)
        i, f, z, o = projected + recurrent + params["bias"]
        c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        groups = h.reshape(num_heads, -1)
        centred = groups - groups.mean(-1, keepdims=True)
        normalized = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5)
        outputs.append(normalized.reshape(-1) * params["norm"]["scale"])
    return np.stack(outputs)


def shm(params: Any, inputs: Array, done: Array) -> Array:
    """Le et al. (2024); the row of a step is a hash of its place in the episode."""
    size = params["theta"].shape[1]
    memory, position, outputs = np.zeros((size, size)), 0, []
    for x, first in zip(inputs, done, strict=True):
        if first:
            memory, position = np.zeros_like(memory), 0
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-6) * params["norm"]["scale"] + params["norm"]["bias"]
        key, query, value, calibration, shortcut = np.split(dense(params["inputs"], x)[:-1], 5)
        eta = sigmoid(dense(params["inputs"], x)[-1])
        key, query = (np.maximum(part, 0) / (1e-5 + np.maximum(part, 0).sum()) for part in (key, query))
        theta = params["theta"][murmur_hash(position) % len(params["theta"])]
        memory = memory * (1 + np.tanh(np.outer(theta, calibration))) + eta * np.outer(value, key)
        outputs.append(dense(params["outputs"], memory @ query + shortcut))
        position += 1
    return np.stack(outputs)


def murmur_hash(position: int) -> int:
    """The 32-bit finalizer of MurmurHash3 in integers of any size."""
    x, mask = position + 0x9E3779B9, 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x85EBCA6B & mask
    x = (x ^ x >> 13) * 0xC2B2AE35 & mask
    return x ^ x >> 16


def rtu(params: Any, inputs: Array, done: Array, linear: bool = False) -> Array:
    """Elelimy et al. (2024): rotation matrices of 2 x 2, rectified inside the recurrence or, if linear, behind it."""
    radius, angle = np.exp(-np.exp(params["nu_log"])), np.exp(params["theta_log"])
    rotation = radius * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    h, outputs = np.zeros((2, len(radius))), []
    for x, first in zip(inputs, done, strict=True):
        h = np.zeros_like(h) if first else h
        driven = np.sqrt(1 - radius**2) * np.einsum("f,cfn->cn", x, params["kernel"])
        h = np.einsum("cdn,dn->cn", rotation, h) + driven
        h = h if linear else np.maximum(h, 0)
        outputs.append(np.maximum(h, 0).reshape(-1))
    return np.stack(outputs)


def indrnn(params: Any, inputs: Array, done: Array) -> Array:
    """Li et al. (2018), with the recurrent weights held within [-1, 1]."""
    h, outputs = np.zeros(len(params["bias"])), []
    for x, first in zip(inputs, done, strict=True):
        h = np.maximum(dense(params, x) + np.clip(params["recurrent"], -1, 1) * (0 if first else h), 0)
        outputs.append(h)
    return np.stack(outputs)


def lmu(params: Any, inputs: Array, done: Array, order: int, theta: float) -> Array:
    """Voelker et al. (2019), Eqs. 1, 2, 6 and 7; the delay is integrated by many small steps of the midpoint rule."""
    i, j = np.ogrid[:order, :order]
    a = (2 * i + 1) / theta * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    b = (2 * i[:, 0] + 1) / theta * (-1.0) ** i[:, 0]
    substeps, memory_d = 256, params["e_x"].shape[1]
    m, h, outputs = np.zeros((memory_d, order)), np.zeros(params["W_h"].shape[0]), []
    for x, first in zip(inputs, done, strict=True):
        if first:
            m, h = np.zeros_like(m), np.zeros_like(h)
        u = (x @ params["e_x"] + h @ params["e_h"] + m.reshape(-1) @ params["e_m"])[:, None]
        for _ in range(substeps):
            middle = m + (m @ a.T + u * b) / (2 * substeps)
            m = m + (middle @ a.T + u * b) / substeps
        h = np.tanh(x @ params["W_x"] + h @ params["W_h"] + m.reshape(-1) @ params["W_m"])
        outputs.append(h)
    return np.stack(outputs)


def s5(params: Any, inputs: Array, done: Array) -> Array:
    """Smith et al. (2023), Section 3, each conjugate pair written out."""
    eigenvalues = np.minimum(params["Lambda_re"], -1e-4) + 1j * params["Lambda_im"]
    decay = np.exp(eigenvalues * np.exp(params["log_step"]))
    b, c = params["B"][0] + 1j * params["B"][1], params["C"][0] + 1j * params["C"][1]
    h, outputs = np.zeros(len(decay), complex), []
    for x, first in zip(inputs, done, strict=True):
        h = decay * (0 if first else h) + (decay - 1) / eigenvalues * (x @ b)
        pair = np.concatenate([h, h.conj()]) @ np.concatenate([c, c.conj()])
        assert np.abs(pair.imag).max() < 1e-12
        outputs.append(pair.real + x @ params["D"])
    return np.stack(outputs)


def s4d(params: Any, inputs: Array, done: Array) -> Array:
    """Gu et al. (2022), S4D: a kernel per channel, convolved with the episode so far."""
    a = -np.exp(params["log_A_real"]) + 1j * params["A_imag"]
    step = np.exp(params["log_dt"])
    c = (params["C_re"] + 1j * params["C_im"]) * (np.exp(a * step) - 1) / a
    powers = np.exp(a * step * np.arange(len(inputs))[:, None, None])
    kernel = 2 * (c * powers).sum(1).real  # [T, H]
    begin, outputs = 0, []
    for t, (x, first) in enumerate(zip(inputs, done, strict=True)):
        begin = t if first else begin
        y = (kernel[: t - begin + 1][::-1] * inputs[begin : t + 1]).sum(0) + params["D"] * x
        y = y / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
        outputs.append(dense(params["output"], y))
    return np.stack(outputs)


def min_lstm(params: Any, inputs: Array, done: Array) -> Array:
    """Feng et al. (2024), log-space form: sequential mode."""
    h, outputs = np.zeros(len(params["f"]["bias"])), []
    for x, first in zip(inputs, done, strict=True):
        forget, write = sigmoid(dense(params["f"], x)), sigmoid(dense(params["i"], x))
        total = forget + write
        h = forget / total * (0 if first else h) + write / total * positive(dense(params["h"], x))
        outputs.append(h)
    return np.stack(outputs)


def rg_lru(params: Any, inputs: Array, done: Array) -> Array:
    """De et al. (2024), Eqs. 1-4, with c = 8."""
    num_blocks = params["kernel"].shape[1]
    a, h, outputs = sigmoid(params["Lambda"]), np.zeros(inputs.shape[1]), []
    for x, first in zip(inputs, done, strict=True):
        blocks = np.split(x, num_blocks)
        r, i = (
            sigmoid(np.concatenate([block @ matrix for block, matrix in zip(blocks, gate, strict=True)]) + bias)
            for gate, bias in zip(params["kernel"], params["bias"], strict=True)
        )
        decay = a ** (8 * r)
        h = decay * (0 if first else h) + np.sqrt(1 - decay**2) * (i * x)
        outputs.append(h)
    return np.stack(outputs)


def ffm(params: Any, inputs: Array, done: Array) -> Array:
    """Morad et al. (2023), Section 4: the trace as a sum over the episode so far."""
    memory_size, features = len(params["alpha"]), params["outputs"]["kernel"].shape[1]
    rate = -np.abs(params["alpha"])[:, None] - 1j * params["omega"][None]
    splits = [memory_size, 2 * memory_size, 2 * memory_size + features]
    seen: list[Array] = []
    outputs = []
    for x, first in zip(inputs, done, strict=True):
        seen = [] if first else seen
        written, write_gate, read_gate, shortcut = np.split(dense(params["inputs"], x), splits)
        seen.append(written * sigmoid(write_gate))
        ages = np.arange(len(seen))[::-1, None, None]
        trace = (np.exp(rate * ages) * np.stack(seen)[:, :, None]).sum(0)
        z = dense(params["outputs"], np.concatenate([trace.real.T, trace.imag.T]).reshape(-1))
        z = (z - z.mean()) / np.sqrt(z.var() + 1e-6)
        outputs.append(z * sigmoid(read_gate) + shortcut * (1 - sigmoid(read_gate)))
    return np.stack(outputs)
