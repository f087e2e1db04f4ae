"""Convolutions that are as fast inside a loop as outside of one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from memorax.types import Array


def convolve(
    inputs: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Array:
    """What `lax.conv_general_dilated` computes, for images.

    On the CPU it is a product of matrices, unless dilated or in groups: there XLA compiles the gradient of a
    convolution that stands in a loop, as every update of an agent does, to code that is about thirty times slower than
    outside of it.

    Args:
        inputs: `[N, H, W, C]`.
        kernel: `[kernel height, kernel width, C, D]`.
        strides: strides along rows and columns.
        padding: `"VALID"`, `"SAME"`, or how many zeros before and after the rows and columns.
        lhs_dilation: dilation of the inputs along rows and columns; none where None.
        rhs_dilation: dilation of the kernel likewise.
        dimension_numbers: dimension numbers of just these shapes.
        feature_group_count: number of groups of channels, each convolved by itself.
        precision: precision of the product, as `jax.lax.dot_general` takes it.

    Returns:
        `[N, rows, columns, D]`.
    """
    plain = feature_group_count == 1 and all(n == 1 for n in (*(lhs_dilation or ()), *(rhs_dilation or ())))
    if plain and jax.default_backend() == "cpu":
        return convolve_by_product(inputs, kernel, strides, padding, precision)
    return lax.conv_general_dilated(
        inputs,
        kernel,
        strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        precision=precision,
    )


def convolve_by_product(
    inputs: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    precision: Any = None,
) -> Array:
    """`convolve` as a product of matrices, with blocks of pixels as large as the strides in place of pixels."""
    sides = kernel.shape[:2]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(inputs.shape[1:3], sides, strides, padding)
    inputs = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(inputs.shape[1:3], sides, strides, strict=True))
    height, width = (-(-k // s) for k, s in zip(sides, strides, strict=True))  # of the kernel, in blocks
    blocks = _in_blocks(inputs, (rows + height - 1, columns + width - 1), strides)
    patches = [blocks[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
    kernel = jnp.moveaxis(_in_blocks(jnp.moveaxis(kernel, 3, 0), (height, width), strides), 0, 3)
    return jnp.matmul(jnp.concatenate(patches, axis=-1), kernel.reshape(-1, kernel.shape[-1]), precision=precision)


def _in_blocks(images: Array, sides: tuple[int, int], strides: Sequence[int]) -> Array:
    """`[N, H, W, C]`, cut or filled with zeros, in `sides` blocks of `strides` pixels: `[N, *sides, pixels * C]`."""
    extents = [side * stride for side, stride in zip(sides, strides, strict=True)]
    images = images[:, : extents[0], : extents[1]]
    missing = [(0, extent - n) for extent, n in zip(extents, images.shape[1:3], strict=True)]
    images = jnp.pad(images, ((0, 0), *missing, (0, 0)))
    split = images.reshape(-1, sides[0], strides[0], sides[1], strides[1], images.shape[-1])
    return jnp.swapaxes(split, 2, 3).reshape(-1, *sides, strides[0] * strides[1] * images.shape[-1])


Convolution = functools.partial(nn.Conv, conv_general_dilated=convolve)
"""`nn.Conv` of images by `convolve`."""
