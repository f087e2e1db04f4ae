"""The time limit of tasks that have one."""

from __future__ import annotations

import numpy as np


def check_max_episode_length(max_episode_length: int) -> None:
    """Raise a ValueError unless `max_episode_length` is a positive integer."""
    if not isinstance(max_episode_length, int | np.integer) or max_episode_length < 1:
        raise ValueError(f"max_episode_length ({max_episode_length!r}) must be a positive integer")
