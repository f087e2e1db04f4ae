"""Checks of numeric settings, with an error that names the field and the value."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, TypeVar

import numpy as np

Config = TypeVar("Config")

LARGEST_COUNT = 2**31 - 1
"""What is counted in compiled programs is counted in 32 bits: this is as far as it goes."""

LARGEST_SEED = 2**31 - 1
"""JAX makes random keys of 32 bits of a seed, so that a seed that does not fit gives the key of another one."""


def python_numbers(config: Config) -> Config:
    """A config, a dataclass, with Python's numbers in place of NumPy's, and whole numbers where they are asked for.

    Sweeps draw NumPy's numbers, and steps are often written as `1e6`. Arrays (hyperparameters that are mapped over) are
    left as they are.

    Raises:
        ValueError: if a field is to be a whole number, a number or a bool and holds something else.
    """
    hints = typing.get_type_hints(type(config))
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    changed = {}
    for name in (field.name for field in fields if field.init):
        value = getattr(config, name)
        plain = _python_number(name, value, set(typing.get_args(hints[name])) or {hints[name]})
        if plain is not value:
            changed[name] = plain
    return dataclasses.replace(config, **changed) if changed else config  # type: ignore[type-var]


def described(value: Any) -> str:
    """A value in a few words, for messages: arrays by type and shape."""
    if isinstance(value, int | float | str | None):
        return repr(value)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def plain_value(value: Any) -> Any:
    """A value in Python's types in place of NumPy's: numbers, and arrays as nested tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return tuple(plain_value(part) for part in value) if value.ndim else value.item()
    return value


def json_value(name: str, value: Any) -> Any:
    """A value as JSON holds it: numbers of NumPy's and JAX's as Python's, arrays and tuples as lists.

    Args:
        name: what it is, for messages.
        value: the value; mappings, lists, tuples and ranges may be nested.

    Raises:
        ValueError: if JSON has nothing like it.
    """
    if isinstance(value, Mapping):
        return {str(key): json_value(f"{name}[{key!r}]", member) for key, member in value.items()}
    if isinstance(value, list | tuple | range):
        return [json_value(f"{name}[{index}]", member) for index, member in enumerate(value)]
    if isinstance(value, np.generic) or hasattr(value, "__array__"):
        return np.asarray(value).tolist()
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"{name} ({value!r}) must be text, a number, a list or a dictionary, which JSON can hold")
    return value


def finite_json(value: Any) -> Any:
    """A value of JSON's kinds whose numbers that are not finite are text: JSON has no such numbers.

    Python's `json` writes them all the same, but what others read must not hold them.
    """
    if isinstance(value, Mapping):
        return {name: finite_json(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(member) for member in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _python_number(name: str, value: Any, kinds: set[Any]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if not kinds <= {int, float, bool, type(None)} or (value is None and type(None) in kinds):
        return value
    if kinds <= {bool, type(None)}:
        if not isinstance(value, bool):
            raise ValueError(f"{name} ({value!r}) must be True or False")
        return value
    if value is None or isinstance(value, bool | str):
        raise ValueError(f"{name} ({value!r}) must be a number")
    return whole_number(name, value) if isinstance(value, float) and float not in kinds else value


def _concrete(config: Any, name: str) -> Any:
    """A field's value if it is a number; arrays (a hyperparameter that is mapped over) are not checked."""
    value = getattr(config, name)
    return value if isinstance(value, Real) else None


def require_countable(config: Any) -> None:
    """Raise a `ValueError` naming the first field of a dataclass that holds a whole number above `LARGEST_COUNT`."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, int) and value > LARGEST_COUNT:
            raise ValueError(f"{field.name} ({value}) must not exceed {LARGEST_COUNT}: it is counted in 32 bits")


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


def positive_whole_number(name: str, value: Any) -> int:
    """The whole number from 1 on that a value is; `name` is for messages.

    Raises:
        ValueError: if it is none.
    """
    number = whole_number(name, value)
    if number < 1:
        raise ValueError(f"{name} ({number}) must be at least 1")
    return number


def duration(name: str, value: Any) -> float:
    """The time in seconds that a value is, which may be infinite; `name` is for messages.

    Raises:
        ValueError: if it is no number, NaN or negative.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not number >= 0:  # as NaN is not
        raise ValueError(f"{name} ({value!r}) must be a number of seconds, 0 or more")
    return number


def true_or_false(name: str, value: Any) -> bool:
    """The bool that a value is, of Python's or NumPy's; `name` is for messages.

    Raises:
        ValueError: if it is none, such as the text "no", which would count as True.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} ({value!r}) must be True or False")
    return bool(value)


def several_texts(name: str, value: Any) -> tuple[str, ...]:
    """Several texts, in a list or the like; `name` is for messages.

    Raises:
        ValueError: if it is anything else, such as one text, which would count as its letters.
    """
    members = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None
    if members is None or not all(isinstance(member, str) for member in members):
        example = [str(member) for member in ([value] if members is None else members)]
        raise ValueError(f"{name} ({value!r}) must be a list of texts, such as {example}")
    return tuple(members)


def random_seed(name: str, value: Any, number: int = 1) -> int:
    """The random seed that a value is, the first of `number` seeds; `name` is for messages.

    Raises:
        ValueError: if it is no whole number, or one of the seeds is negative or above `LARGEST_SEED`.
    """
    seed, largest = whole_number(name, value), LARGEST_SEED - number + 1
    if not 0 <= seed <= largest:
        raise ValueError(f"{name} ({seed}) must lie between 0 and {largest}")
    return seed


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


def require_finite(config: Any, *names: str) -> None:
    """Raise a `ValueError` naming the first of the fields that is infinite or NaN."""
    for name in names:
        value = _concrete(config, name)
        if value is not None and not np.isfinite(value):
            raise ValueError(f"{name} ({value}) must be finite")


def require_at_most(config: Any, name: str, limit: str) -> None:
    """Raise a `ValueError` naming both fields if the first is greater than the second."""
    value, largest = _concrete(config, name), _concrete(config, limit)
    if value is not None and largest is not None and value > largest:
        raise ValueError(f"{name} ({value}) must not exceed {limit} ({largest})")


def require_one(config: Any, *names: str, why: str) -> None:
    """Raise a `ValueError` naming the first of the fields that is not 1, and `why` it has to be."""
    for name in names:
        value = getattr(config, name)
        if value != 1:
            raise ValueError(f"{name} ({value}) must be 1: {why}")


def require_one_of(config: Any, name: str, *values: str) -> None:
    """Raise a `ValueError` unless the field is one of some words."""
    value = getattr(config, name)
    if value not in values:
        raise ValueError(f"{name} ({value}) must be one of {', '.join(values)}")


def require_fraction(config: Any, *names: str) -> None:
    """Raise a `ValueError` naming the first of the fields outside `[0, 1]`."""
    for name in names:
        value = _concrete(config, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} ({value}) must lie between 0 and 1")


def require_choice(config: Any, name: str, *choices: str) -> None:
    """Raise a `ValueError` unless the field is one of the choices."""
    value = getattr(config, name)
    if value not in choices:
        *first, last = map(repr, choices)
        raise ValueError(f"{name} ({value!r}) must be {', '.join(first)} or {last}")


def require_divisor(config: Any, name: str, total: str, size: int) -> None:
    """Raise a `ValueError` unless the field divides a size, which `total` names."""
    value = getattr(config, name)
    if value < 1 or size % value:
        raise ValueError(f"{type(config).__name__} {name} ({value}) must divide {total} ({size})")


def require_sequences(config: Any, name: str = "sequence_length") -> None:
    """Raise a `ValueError` unless a rollout of `num_steps` consists of whole sequences, one by default."""
    length = config.num_steps if getattr(config, name) is None else getattr(config, name)
    if length < 1 or config.num_steps % length:
        raise ValueError(f"{name} ({length}) must divide num_steps ({config.num_steps})")


def require_several(name: str, what: str, size: int, remedy: str = "use more features") -> None:
    """Raise a `ValueError` unless a norm has several features to compare.

    A norm that subtracts the mean makes zero of one feature alone, and one that does not makes its sign of it.

    Args:
        name: what normalises, for messages.
        what: names the number of features, and gives what it comes from.
        size: the number of features.
        remedy: what to change.
    """
    if size < 2:
        raise ValueError(f"{name} {what} must be at least 2: of one feature a norm leaves at most the sign, {remedy}")


def require_wide_heads(config: Any) -> None:
    """Raise a `ValueError` unless the heads of a memory, which are normalised one by one, have several features."""
    what = f"features / num_heads ({config.features} / {config.num_heads})"
    size = config.features // config.num_heads
    require_several(type(config).__name__, what, size, "use more features or fewer heads")


def require_even(config: Any, what: str, size: int, why: str) -> None:
    """Raise a `ValueError` unless a size is even; `what` names and gives it, `why` says what comes in pairs."""
    if size % 2:
        raise ValueError(f"{type(config).__name__} {what} must be even: {why}")
