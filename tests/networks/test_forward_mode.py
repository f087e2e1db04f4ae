"""Forward mode runs through every dense layer, convolution, encoder, head and attention, to any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.spaces import Box, Discrete
from memorax.networks import TORSOS, heads
from memorax.networks.dense import Dense
from memorax.networks.encoders import CNN, MLP, ImpalaCNN, ViT
from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.testing import check_close

KEY = jax.random.key(0)
SHAPE = (2, 5, 4)
DONE = jnp.zeros(SHAPE[:2], bool).at[0, 2].set(True)

Case = tuple[Callable[[Any, jax.Array], jax.Array], Any, jax.Array]
"""A function of parameters and inputs, and both."""


def layer(module: nn.Module, shape: tuple[int, ...], read: Callable[[Any], Any] = lambda output: output) -> Case:
    inputs = jax.random.uniform(KEY, shape)
    return lambda params, x: read(module.apply(params, x)), jax.jit(module.init)(KEY, inputs), inputs


def policy(space: Any) -> Case:
    def read(distribution: Any) -> Any:
        action = jax.lax.stop_gradient(distribution.mode)
        return distribution.log_prob(action), distribution.entropy()

    return layer(heads.policy_head(space), SHAPE, read)


def values(head: Any) -> Case:
    return layer(head, SHAPE, head.value)


def torso(name: str) -> Case:
    model = TORSOS[name](4)
    carry = model.initialize_carry(KEY, (SHAPE[0], SHAPE[2]))
    inputs = jax.random.normal(KEY, SHAPE)
    params = jax.jit(model.init)(KEY, inputs, DONE, carry)
    return lambda params, x: model.apply(params, x, DONE, carry)[1], params, inputs


def convolution() -> Case:
    window = jax.random.normal(KEY, (2, 2, 4))
    inputs = jax.random.normal(jax.random.key(1), SHAPE)
    kernel = jax.random.normal(jax.random.key(2), (3, 4))
    return lambda kernel, x: causal_convolution(x, kernel, DONE, window)[1], kernel, inputs


CASES: dict[str, Callable[[], Case]] = {
    "dense": lambda: layer(Dense(6), SHAPE),
    "dense of many inputs": lambda: layer(Dense(3), SHAPE),
    "causal convolution": convolution,
    "MLP": lambda: layer(MLP(6), SHAPE),
    "CNN": lambda: layer(CNN(features=(3,), kernel_sizes=(3,), strides=(2,)), (1, 2, 6, 6, 1)),
    "ImpalaCNN": lambda: layer(ImpalaCNN(features=(2,)), (1, 2, 6, 6, 1)),
    "ViT": lambda: layer(ViT(features=4, depth=1, patch_size=3, num_heads=2), (1, 2, 6, 6, 1)),
    "categorical policy": lambda: policy(Discrete(3)),
    "Gaussian policy": lambda: policy(Box(-1.0, 1.0, (2,))),
    "value": lambda: values(heads.VNetwork()),
    "action values": lambda: values(heads.q_head(Discrete(3))),
    "dueling": lambda: values(heads.q_head(Discrete(3), "dueling")),
    "C51": lambda: values(heads.q_head(Discrete(3), "c51")),
    "attention": lambda: torso("attention"),
    "GTrXL": lambda: torso("gtrxl"),
}


SLOW = ("GTrXL",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
)
def test_directional_derivatives_are_those_of_reverse_mode(name: str) -> None:
    function, *arguments = CASES[name]()
    direction = jax.tree.map(lambda x: np.sin(np.arange(x.size, dtype=x.dtype)).reshape(x.shape), arguments)

    def loss(params: Any, inputs: jax.Array) -> jax.Array:
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(function(params, inputs)))

    def along(step: jax.Array) -> jax.Array:
        return loss(*jax.tree.map(lambda x, d: x + step * d, arguments, direction))

    @jax.jit
    def derivatives() -> tuple[jax.Array, ...]:
        reverse = jax.grad(along)
        forward = jax.jvp(along, (0.0,), (1.0,))[1]
        linear = jax.linearize(along, 0.0)[1](1.0)
        return reverse(0.0), forward, linear, jax.grad(reverse)(0.0), jax.hessian(along)(0.0)

    first, forward, linear, second, hessian = derivatives()
    check_close((forward, linear), (first, first), 1e-4)
    check_close(hessian, second, 1e-4)
    assert first != 0
