"""Dense layers over sequences, with a kernel gradient that is fast on a CPU.

XLA multiplies `[B, T, F]` by a kernel as fast as `[B * T, F]`, but transposes a copy of the cotangents for the gradient
of the kernel, which takes more than twice as long on a CPU. So the leading axes are flattened here. It is also slow at
the gradient of a kernel with more rows than columns, whose transpose is computed instead (512 inputs, a kernel of
256 x 64: 187 microseconds, 96 with the transpositions).
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.types import Array


def project(inputs: Array, kernel: Array, dimension_numbers: Any = None, precision: Any = None) -> Array:
    """`inputs @ kernel`: `[..., F]` and `[F, D]` to `[..., D]`.

    Args:
        inputs: `[..., F]`.
        kernel: `[F, D]`.
        dimension_numbers: dimension numbers of just these shapes, as `flax.linen.Dense` passes them.
        precision: precision of the product, as `jax.lax.dot_general` takes it.
    """
    flat = _multiply(precision, inputs.reshape(-1, inputs.shape[-1]), kernel)
    return flat.reshape(*inputs.shape[:-1], kernel.shape[-1])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _multiply(precision: Any, inputs: Array, kernel: Array) -> Array:
    return jnp.matmul(inputs, kernel, precision=precision)


@_multiply.defjvp
def _multiply_tangent(
    precision: Any, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """The tangent of `y = x W`, `dx W + x dW` `[N, D]`, written so that its transpose is the fast gradient.

    The transpose gives `x^T dy` `[F, D]` for the kernel. Where that has more rows than columns it is computed as
    `(dy^T x)^T`, so `x dW` is written as `(dW^T x^T)^T` there.
    """
    (inputs, kernel), (d_inputs, d_kernel) = primals, tangents
    stored = jax.lax.optimization_barrier  # the compiler would move the transpositions into the product
    if kernel.shape[0] > kernel.shape[1]:
        product = jnp.matmul(stored(d_kernel.T), inputs.T, precision=precision)
        by_kernel = stored(stored(product).T)
    else:
        by_kernel = jnp.matmul(inputs, d_kernel, precision=precision)
    return _multiply(precision, inputs, kernel), jnp.matmul(d_inputs, kernel, precision=precision) + by_kernel


def block_diagonal(blocks: Array) -> Array:
    """`[G, I, O]` as one block-diagonal kernel `[G * I, G * O]`: one large product is faster than `G` small ones."""
    identity = jnp.eye(blocks.shape[0], dtype=blocks.dtype)
    kernel = blocks[:, :, None, :] * identity[:, None, :, None]
    return kernel.reshape(blocks.shape[0] * blocks.shape[1], -1)


Dense = functools.partial(nn.Dense, dot_general=project)
"""`flax.linen.Dense`, computed by `project`."""
