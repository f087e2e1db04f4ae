"""Dense layers of sequences.

XLA multiplies `[B, T, F]` by a kernel as fast as `[B * T, F]`, but transposes a copy of the cotangents for the gradient
of the kernel, which takes more than twice as long on a CPU. So the leading axes are flattened here.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from memorax.types import Array


def project(inputs: Array, kernel: Array, dimension_numbers: Any = None, precision: Any = None) -> Array:
    """`inputs @ kernel`: `[..., F]` and `[F, D]` to `[..., D]`.

    Args:
        inputs: `[..., F]`.
        kernel: `[F, D]`.
        dimension_numbers: those of the shapes given here, as `flax.linen.Dense` passes them.
        precision: of the product.
    """
    flat = jnp.matmul(inputs.reshape(-1, inputs.shape[-1]), kernel, precision=precision)
    return flat.reshape(*inputs.shape[:-1], kernel.shape[-1])


def block_diagonal(blocks: Array) -> Array:
    """`[G, I, O]` as one kernel `[G * I, G * O]`: one large product is faster than `G` small ones, zeros and all."""
    identity = jnp.eye(blocks.shape[0], dtype=blocks.dtype)
    kernel = blocks[:, :, None, :] * identity[:, None, :, None]
    return kernel.reshape(blocks.shape[0] * blocks.shape[1], -1)


Dense = functools.partial(nn.Dense, dot_general=project)
"""`flax.linen.Dense`, computed by `project`."""
