"""Rewards of answers that make guessing worth 0, and checks of the sizes of tasks."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import jax.numpy as jnp

from memorax.types import Array


def graded(right: Array, num_choices: int) -> Array:
    """1 where the answer is right and `-1 / (num_choices - 1)` where it is wrong: guessing is worth 0. Float32."""
    return jnp.where(right, 1.0, -1.0 / (num_choices - 1)).astype(jnp.float32)


def check_integer(name: str, value: Any, least: int = 1) -> int:
    """The value as an integer.

    Raises:
        ValueError: naming it, if it is no integer or less than `least`.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} ({value!r}) must be an integer of at least {least}")
    return int(value)
