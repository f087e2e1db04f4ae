"""The noise that some tasks add to what is observed."""

from __future__ import annotations

import jax
import numpy as np

from memorax.types import Array, Key


def draw_noise(key: Key, noise_sigma: Array | float) -> Array:
    """Gaussian noise of standard deviation `noise_sigma` for one observation, `[2]`."""
    return noise_sigma * jax.random.normal(key, (2,))


def check_noise_sigma(noise_sigma: float) -> None:
    """Raise a ValueError unless `noise_sigma` is a number that is not negative."""
    if not isinstance(noise_sigma, int | float | np.number) or not noise_sigma >= 0:
        raise ValueError(f"noise_sigma ({noise_sigma!r}) must be a number that is not negative")
