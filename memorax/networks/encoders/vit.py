"""The vision transformer."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from memorax.networks.blocks.feedforward import FFN
from memorax.networks.encoders.cnn import pixels
from memorax.networks.encoders.convolution import Convolution
from memorax.types import Array
from memorax.validation import require_several


class PatchEmbedding(nn.Module):
    """Squares of an image as vectors, each with its learned position (Dosovitskiy et al., 2021, "ViT", Eq. 1).

    Attributes:
        features: size of the vectors.
        patch_size: side of a square.
        dtype: dtype of the computation; None promotes those of inputs and parameters.
    """

    features: int
    patch_size: int = 8
    dtype: Any = None

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Vectors `[B, T, P, features]` of the `P` patches of images `[B, T, H, W, C]`, row by row.

        Raises:
            ValueError: if the images have other axes, or sides that are no multiples of the patches'.
        """
        size = self.patch_size
        if images.ndim != 5 or size < 1 or images.shape[2] % size or images.shape[3] % size:
            raise ValueError(
                f"PatchEmbedding images {images.shape} must be [B, T, H, W, C] with H and W multiples of "
                f"patch_size ({size})"
            )
        flat = pixels(images).reshape(-1, *images.shape[2:])
        patches = Convolution(self.features, (size, size), (size, size), "VALID", dtype=self.dtype, name="patches")(
            flat
        )
        patches = patches.reshape(*images.shape[:2], -1, self.features)
        positions = self.param("positions", nn.initializers.normal(0.02), patches.shape[2:])
        return patches + positions.astype(patches.dtype)[None, None]


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al., 2021, "An Image is Worth 16x16 Words", Eq. 1 to 4).

    The patches of an image attend to one another, all of them; their mean is the image's vector, which did as well as
    the class token (Appendix D.3). Layers are compiled once.

    Attributes:
        features: size of the vectors and of the output.
        depth: number of layers.
        num_heads: number of heads; must divide `features`.
        patch_size: side of a patch in pixels.
        dtype: dtype of the computation; None promotes those of inputs and parameters.
    """

    features: int = 64
    depth: int = 2
    num_heads: int = 4
    patch_size: int = 8
    dtype: Any = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.depth < 1:
            raise ValueError(f"ViT depth ({self.depth}) must be at least 1")
        if self.num_heads < 1 or self.features % self.num_heads:
            raise ValueError(f"ViT num_heads ({self.num_heads}) must divide features ({self.features})")
        require_several("ViT", f"features ({self.features})", self.features)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Features `[B, T, features]` of images `[B, T, H, W, C]`; bytes are scaled to `0 ... 1`."""
        patches = PatchEmbedding(self.features, self.patch_size, self.dtype)(images)
        repeat = nn.scan(_EncoderLayer, {"params": 0}, split_rngs={"params": True}, length=self.depth)
        patches, _ = repeat(self.num_heads, self.dtype, name="layers")(patches, None)
        return jnp.mean(nn.LayerNorm(dtype=self.dtype)(patches), axis=2)


class _EncoderLayer(nn.Module):
    num_heads: int
    dtype: Any

    @nn.compact
    def __call__(self, patches: Array, _: None) -> tuple[Array, None]:
        attention = nn.MultiHeadDotProductAttention(self.num_heads, dtype=self.dtype, name="attention")
        patches = patches + attention(nn.LayerNorm(dtype=self.dtype)(patches)).astype(patches.dtype)
        hidden = FFN(patches.shape[-1], dtype=self.dtype, name="ffn")(nn.LayerNorm(dtype=self.dtype)(patches))
        return patches + hidden.astype(patches.dtype), None
