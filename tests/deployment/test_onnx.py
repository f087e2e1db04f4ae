from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memorax
from memorax.deployment.onnx_graph import Graph, Tensor, _linear
from memorax.deployment.onnx_operations import stored, taken
from memorax.deployment.onnx_translation import Untranslated, translate

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

ROOT = Path(__file__).parents[2]


def run_in_onnx(function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """What a function of arrays, of which the first has a leading axis of rows, returns in onnxruntime."""
    (rows,) = jax.export.symbolic_shape("environments")
    shapes = [jax.ShapeDtypeStruct((rows, *arrays[0].shape[1:]), arrays[0].dtype)]
    shapes += [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays[1:]]
    closed = jax.make_jaxpr(function)(*shapes)
    names = [f"in{index}" for index in range(len(arrays))]
    graph = Graph(Tensor(names[0]), 1)
    inputs = [taken(graph, Tensor(name), np.iscomplexobj(array)) for name, array in zip(names, arrays, strict=True)]
    results = translate(graph, closed.jaxpr, closed.consts, inputs)
    assert not [value for value in results if isinstance(value, Untranslated)]
    described = {name: _described(shape) for name, shape in zip(names, shapes, strict=True)}
    outputs = {
        f"out{index}": (stored(graph, value), _described(variable.aval))
        for index, (value, variable) in enumerate(zip(results, closed.jaxpr.outvars, strict=True))
    }
    session = onnxruntime.InferenceSession(graph.model(described, outputs).SerializeToString())
    return session.run(None, {name: _stored(array) for name, array in zip(names, arrays, strict=True)})


def _described(shape: Any) -> tuple[Any, tuple[Any, ...]]:
    return (
        (np.float32, (*shape.shape, 2))
        if np.issubdtype(shape.dtype, np.complexfloating)
        else (shape.dtype, shape.shape)
    )


def _stored(array: Any) -> np.ndarray:
    array = np.asarray(array)
    return np.stack([array.real, array.imag], axis=-1) if np.iscomplexobj(array) else array


def _hash(numbers: jax.Array) -> list[jax.Array]:
    x = jnp.abs(numbers).astype(jnp.uint32) + jnp.uint32(0x9E3779B9)
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    return [x, (x % jnp.uint32(7)).astype(jnp.int32)]


def _by_rows(x: jax.Array) -> list[jax.Array]:
    places = (10 * jnp.abs(x[:, :2])).astype(jnp.int32) % 4
    taken = [(x, places, 1), (x.T[:, :, None], places.T[:, :, None], 0), (jnp.stack([x, -x], 1), places[:, None], 2)]
    return [jnp.take_along_axis(values, indices, axis, mode="clip") for values, indices, axis in taken]


X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
TINY = np.float32([[1e-7, -1e-7, 0.0, 40.0]] * 2)
Z = (X + 1j * X[::-1]).astype(np.complex64)
W = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)

FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "elementwise": (lambda x: [jnp.tanh(x), jnp.exp(x), x / 2, -x, jnp.abs(x), x**3, x**-2, jnp.sign(x)], (X,)),
    "near zero": (lambda x: [jnp.expm1(x), jnp.log1p(jnp.abs(x)), jax.nn.softplus(x)], (TINY,)),
    "comparisons": (lambda x: [x > 0, x != x, jnp.isfinite(x), (x < 0) & ~(x > -1), jnp.where(x > 0, x, 0)], (X,)),
    "remainder and rounding": (lambda x: [jnp.fmod(x, 0.3), jnp.round(x), jnp.floor(x), jnp.clip(x, -0.5, 0.5)], (X,)),
    "shapes": (
        lambda x: [x.T, x[:, ::-1], x[:, 1:3], x[:, 2], x[..., None] + jnp.ones((1, 1, 5)), jnp.stack([x, x], 1)],
        (X,),
    ),
    "padding and joining": (
        lambda x: [jnp.pad(x, ((0, 0), (1, 2))), jnp.concatenate([x, x], -1), x.reshape(-1, 2)],
        (X,),
    ),
    "splitting": (lambda x: [*jnp.split(x, 2, axis=1), *jnp.unstack(x, axis=1)], (X,)),
    "first of rows": (lambda x: [x[0], x[:1] * jnp.ones_like(x)], (X,)),
    "along an axis": (lambda x: [x.sum(1), x.max(0), jnp.argmax(x, 1), jnp.any(x > 1, 1), jnp.cumsum(x, 1)], (X,)),
    "running": (lambda x: [jax.lax.cummax(x, 1), jax.lax.cumsum(x, 1, reverse=True), jax.lax.cumprod(x, 1)], (X,)),
    "products": (
        lambda x, w: [
            x @ w,
            jnp.einsum("bi,bj->bij", x, x),
            jnp.einsum("bi,ji->bj", x, w),
            jnp.einsum("bi,bi->b", x, x),
        ],
        (X, W),
    ),
    "a hash": (lambda x: _hash(x[:, 0].astype(jnp.int32)), (X * 100,)),
    "rows of a table": (lambda x, w: w[jnp.argmax(x, 1)[:, None]], (X, W)),
    "elements by rows": (_by_rows, (X,)),
    "one-hot": (lambda x: jax.nn.one_hot(jnp.argmax(x, 1), 4), (X,)),
    "number of rows": (lambda x: [jnp.arange(x.shape[0]), x / x.shape[0]], (X,)),
    "a loop": (
        lambda x, w: jax.lax.scan(lambda h, v: (jnp.tanh(h @ w + v), h), x, w[:2, None, :], reverse=True),
        (X, W),
    ),
    "complex": (
        lambda z: [z * z, z / (1 + 2j), jnp.exp(z), jnp.conj(z), jnp.abs(z), z.real, z.imag, z @ z[0], z.sum(1)],
        (Z,),
    ),
    "complex and real": (lambda z: [jnp.where(z.real > 0, z, 0), z * 2, z[:, 1:], z.astype(jnp.complex64) + 1j], (Z,)),
    "becoming complex": (
        lambda x: [jax.lax.complex(x, 2 * x), x.astype(jnp.complex64) * 1j, x.astype(jnp.complex64)[:, 1]],
        (X,),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_mean_the_same_in_onnx(name: str) -> None:
    function, arrays = FUNCTIONS[name]
    expected = [_stored(x) for x in jax.tree.leaves(function(*map(jnp.asarray, arrays)))]
    found = run_in_onnx(function, *arrays)
    assert len(found) == len(expected)
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6 if name != "near zero" else 0, err_msg=f"{index}")


def test_what_cannot_be_translated_harms_only_what_depends_on_it() -> None:
    closed = jax.make_jaxpr(lambda x: (jnp.sort(x), x + 1))(X)
    results = translate(Graph(Tensor("x"), 1), closed.jaxpr, closed.consts, [Tensor("x")])
    assert results[0] == Untranslated("sort")
    assert isinstance(results[1], Tensor)


def test_lengths_are_linear_in_the_number_of_environments() -> None:
    (n,) = jax.export.symbolic_shape("environments")
    assert [_linear(size) for size in (n, 3 * n, 2 * n - 4, n * 2 + 1)] == [(1, 0), (3, 0), (2, -4), (2, 1)]
    with pytest.raises(ValueError, match="not linear"):
        _linear(n * n)


PLAY = """
import sys
sys.modules["jax"] = sys.modules["memorax"] = None
sys.path.insert(0, sys.argv[1])
from onnx_policy import main
print(*main(sys.argv[2], "CartPole-v1", max_episode_steps=30))
"""


def test_the_example_plays_without_jax(folder: Path, exported: Path) -> None:
    command = [sys.executable, "-c", PLAY, str(ROOT / "examples"), str(exported)]
    played = subprocess.run(command, capture_output=True, text=True, check=True)
    env = gymnasium.make("CartPole-v1", max_episode_steps=30)
    assert list(map(float, played.stdout.split())) == memorax.load_policy(folder).run(env, 3, seed=5).tolist()
    assert json.loads((exported / "manifest.json").read_text())["programs"]["onnx"]["inputs"][0] == "observation"
