"""Dictionaries, each entry by an encoder of its own."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from memorax.environments.space_vectors import flatten
from memorax.types import Array, PyTree


class DictEncoder(nn.Module):
    """Encodes the entries of a dictionary and concatenates what comes out, in the order of their sorted names.

    Attributes:
        encoders: an encoder for each entry by its name; an entry without one is not seen, and one that a
            network hides is left out.
    """

    encoders: Mapping[str, nn.Module]

    @nn.compact
    def __call__(self, element: Mapping[str, PyTree]) -> Array:
        """Features `[B, T, F]` of a dictionary whose leaves are `[B, T, ...]`."""
        seen = [name for name in sorted(self.encoders) if name in element]
        features = [flatten(self.encoders[name](element[name])) for name in seen]
        return jnp.concatenate(features, axis=-1)
