"""Checks of numeric settings, with an error that names the field and the value."""

from __future__ import annotations

from typing import Any


def _concrete(config: Any, name: str) -> float | None:
    """A field's value if it is a Python number; arrays (a hyperparameter that is mapped over) are not checked."""
    value = getattr(config, name)
    return value if isinstance(value, int | float) else None


def whole_number(name: str, value: Any) -> int:
    """The whole number that `100000`, `1e5` or `"1e5"` says; `name` is for messages.

    Raises:
        ValueError: if it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not number.is_integer():
        raise ValueError(f"{name} ({value}) must be a whole number, such as 100000 or 1e5")
    return value if isinstance(value, int) else int(number)


def require_positive(config: Any, *names: str) -> None:
    """Raise a `ValueError` naming the first of the fields that is not greater than zero."""
    for name in names:
        value = _concrete(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} ({value}) must be greater than 0")


def require_not_negative(config: Any, *names: str) -> None:
    """Raise a `ValueError` naming the first of the fields that is less than zero."""
    for name in names:
        value = _concrete(config, name)
        if value is not None and not value >= 0:
            raise ValueError(f"{name} ({value}) must not be negative")


def require_fraction(config: Any, *names: str) -> None:
    """Raise a `ValueError` naming the first of the fields outside `[0, 1]`."""
    for name in names:
        value = _concrete(config, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} ({value}) must lie between 0 and 1")


def require_divisor(config: Any, name: str, total: str, size: int) -> None:
    """Raise a `ValueError` unless the field divides a size, which `total` names."""
    value = getattr(config, name)
    if value < 1 or size % value:
        raise ValueError(f"{type(config).__name__} {name} ({value}) must divide {total} ({size})")


def require_even(config: Any, what: str, size: int, why: str) -> None:
    """Raise a `ValueError` unless a size is even; `what` names and gives it, `why` says what comes in pairs."""
    if size % 2:
        raise ValueError(f"{type(config).__name__} {what} must be even: {why}")
