"""The fast weight programmer."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from memorax.networks.sequence_models.linear_attention import LinearAttentionCell
from memorax.types import Array
from memorax.validation import require_positive


class FWPCell(LinearAttentionCell):
    """Fast weight programmer (Schlag et al., 2021, "Linear Transformers Are Secretly Fast Weight Programmers").

    Outer products program a fast weight matrix by the sum update rule, read with attention normalisation (Eqs. 17-19),
    as in `LinearAttentionCell`, with the deterministic parameter-free projection (DPFP, Eq. 37):

        r = [relu(k), relu(-k)];  phi(k) = [r * roll(r, 1), ..., r * roll(r, nu)]

    Its `2 nu d` sparse features of `d` components keep keys apart that `elu(k) + 1` would mix. With the delta update
    rule in place of the sum, the paper's model is `DeltaNetCell`.

    Attributes:
        nu: capacity of the projection.
    """

    nu: int = 3

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "nu")
        super().__post_init__()

    @property
    def num_kernel_features(self) -> int:
        """Size of `phi(k)` of each head."""
        return 2 * self.nu * (self.features // self.num_heads)

    def kernel_features(self, x: Array) -> Array:
        """`phi`, made positive: `[B, T, H, features // num_heads]` to `[B, T, H, num_kernel_features]`."""
        rectified = jnp.concatenate([nn.relu(x), nn.relu(-x)], axis=-1)
        products = [rectified * jnp.roll(rectified, shift, axis=-1) for shift in range(1, self.nu + 1)]
        return jnp.concatenate(products, axis=-1) + 1e-6
