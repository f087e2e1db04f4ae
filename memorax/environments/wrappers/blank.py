"""Extends a space so that it contains zero, the value of a blanked observation."""

from __future__ import annotations

import numpy as np

from memorax.environments.spaces import Box, in_type


def with_zero(space: Box) -> Box:
    """The smallest box around a box and zero."""
    low, high = (in_type(np.asarray(bound), space.dtype) for bound in (space.low, space.high))
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    return Box(low.astype(space.dtype), high.astype(space.dtype), space.shape, space.dtype)
