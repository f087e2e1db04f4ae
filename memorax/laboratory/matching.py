"""Gives torsos widths at which their networks have about as many parameters: a fair comparison of memories needs it."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from memorax.laboratory.grid import Grid, Setting, with_config
from memorax.training.config import TrainConfig, build_agent, config_from_json, config_to_json
from memorax.training.record import count_parameters

TOLERANCE = 0.1
"""Largest difference from the reference's number of parameters, as a part of it."""

LARGEST_WIDTH = 2048
OUTSIDE_OF_NETWORKS = ("learning_rate", "max_grad_norm", "total_steps", "num_seeds", "seed", "group")
"""Settings that often vary and have no parameters: what is counted once is not counted again for them."""

STEPS = (8, 4, 2, 1)
"""Widths are tried in multiples of these: most torsos have heads or pairs, which divide their width."""

NEIGHBOURS = 8
"""How many widths in a row are tried for one that the torso accepts."""


def count_all(grid: Grid) -> Grid:
    """A grid whose settings know how many parameters they have.

    Raises:
        ValueError: if the parts of a setting do not fit together.
    """
    return replace(grid, settings=tuple(replace(s, parameters=count(s.config)) for s in grid.settings))


def count(config: TrainConfig) -> int:
    """Number of parameters of all networks of the agent that a config describes."""
    config = replace(config, **{name: getattr(TrainConfig, name) for name in OUTSIDE_OF_NETWORKS})
    return _count(json.dumps(config_to_json(config)))


@functools.cache
def _count(settings: str) -> int:
    config = config_from_json(json.loads(settings), "the grid")
    return sum(count_parameters(build_agent(config)).values())


def match_parameters(grid: Grid) -> Grid:
    """Give each setting the width at which it has as many parameters as its reference, within 10 %.

    The reference of a setting is the first one of the grid that has the same environment and algorithm.

    Raises:
        ValueError: if a torso has no such width, or the parts of a setting do not fit together.
    """
    references: dict[tuple[str, str], int] = {}
    matched: list[Setting] = []
    for setting in grid.settings:
        config = setting.config
        kind = config.environment, config.algorithm
        if kind not in references:
            references[kind] = count(config)
        try:
            count_at = functools.partial(_count_at, config)
            features, parameters = match_width(count_at, references[kind], config.features)
        except ValueError as error:
            raise ValueError(f"{setting.name}: torso {config.torso!r} {error}") from error
        matched.append(replace(with_config(setting, features=features), parameters=parameters))
    return replace(grid, settings=tuple(matched))


def match_width(count_at: Callable[[int], int | None], target: int, first: int) -> tuple[int, int]:
    """Find the width at which a count is within 10 % of a target.

    Args:
        count_at: number of parameters at a width, which grows with it; None where the width is not possible.
        target: the number to be met.
        first: width that is kept where it does.

    Returns:
        The width, and the count there.

    Raises:
        ValueError: if there is none, naming the count that is nearest.
    """
    counts: dict[int, int | None] = {}

    def counted(width: int) -> int | None:
        if width not in counts:
            counts[width] = count_at(width)
        return counts[width]

    start = counted(first)
    if start is not None and _meets(start, target):
        return first, start
    # A guess from the last width, as if counts grew with its square, is mostly right, and a count takes a while.
    width, number = first, start
    for step in (STEPS[0], *STEPS):
        if not number:
            break
        width = min(max(step * round(width * math.sqrt(target / number) / step), step), LARGEST_WIDTH)
        number = counted(width)
        if number is not None and _meets(number, target):
            return width, number
    for step in STEPS:
        low, high = 1, LARGEST_WIDTH // step
        while low <= high:
            middle = (low + high) // 2
            near = (counted(width * step) for width in range(middle, min(middle + NEIGHBOURS, high + 1)))
            number = next((number for number in near if number is not None), None)
            if number is not None and number < target:
                low = middle + 1
            else:
                high = middle - 1
        width, number = _nearest(counts.items(), target)
        if number is not None and _meets(number, target):
            return width, number
    width, number = _nearest(counts.items(), target)
    if number is None:
        raise ValueError(f"accepts none of the widths that were tried, up to {LARGEST_WIDTH}")
    raise ValueError(
        f"cannot have {target:,} parameters within {TOLERANCE:.0%}: the nearest is {number:,}, with features {width}"
    )


def _meets(number: int, target: int) -> bool:
    return abs(number - target) <= TOLERANCE * target


def _nearest(counts: Iterable[tuple[int, int | None]], target: int) -> tuple[int, int | None]:
    possible = [(abs(number - target), width, number) for width, number in counts if number is not None]
    return min(possible)[1:] if possible else (0, None)


def _count_at(config: TrainConfig, width: int) -> int | None:
    """Number of parameters at a width, or None where the torso does not accept it."""
    try:
        return count(replace(config, features=width))
    except (ValueError, ZeroDivisionError):
        return None
