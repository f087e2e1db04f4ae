"""Settings: numbers of any kind become Python's, and what is none is refused in one line."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from memorax.algorithms import ALGORITHMS, GradientPPOConfig, PPOConfig
from memorax.buffers import EpisodeBuffer, PrioritisedEpisodeBuffer, PrioritisedSequenceBuffer, SequenceBuffer
from memorax.training import TrainConfig
from memorax.training.config import config_from_json, config_to_json
from memorax.validation import finite_json, plain_value, python_numbers, require_positive


@dataclass(frozen=True)
class Settings:
    steps: int = 4
    limit: int | None = None
    rate: float = 0.1
    switch: bool = False
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"steps": np.int64(3)}, "steps", 3),
        ({"steps": 1e6}, "steps", 1_000_000),
        ({"limit": np.float64(8.0)}, "limit", 8),
        ({"limit": None}, "limit", None),
        ({"rate": np.float32(0.5)}, "rate", 0.5),
        ({"rate": 1}, "rate", 1),
        ({"switch": np.bool_(True)}, "switch", True),
    ],
)
def test_numbers_become_those_of_python(given: dict[str, Any], field: str, expected: Any) -> None:
    found = getattr(python_numbers(Settings(**given)), field)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 2.5}, r"^steps \(2.5\) must be a whole number"),
        ({"steps": "4"}, r"^steps \('4'\) must be a number$"),
        ({"steps": None}, r"^steps \(None\) must be a number$"),
        ({"rate": True}, r"^rate \(True\) must be a number$"),
        ({"switch": 1}, r"^switch \(1\) must be True or False$"),
    ],
)
def test_what_is_no_number_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        python_numbers(Settings(**given))


def test_arrays_are_left_as_they_are() -> None:
    settings = Settings(rate=jnp.asarray([0.1, 0.2]))  # type: ignore[arg-type]
    assert python_numbers(settings) is settings


def test_numbers_of_numpy_are_checked_as_those_of_python_are() -> None:
    with pytest.raises(ValueError, match=r"^steps \(-1\) must be greater than 0"):
        require_positive(Settings(steps=np.int64(-1)), "steps")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["learning_rate", "critic_learning_rate"])
def test_an_infinite_learning_rate_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} \(inf\) must be finite$"):
        TrainConfig(**{name: float("inf")})


CONFIG_CLASSES = sorted({config_class for _, config_class in ALGORITHMS.values()}, key=lambda made: made.__name__)


def is_float(hint: Any) -> bool:
    """Whether a field of this type may hold a float."""
    return float in (hint, *typing.get_args(hint))


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_setting_of_an_algorithm_is_infinite_or_nan(config_class: type, value: float) -> None:
    names = [name for name, hint in typing.get_type_hints(config_class).items() if is_float(hint)]
    assert "gamma" in names
    for name in names:
        with pytest.raises(ValueError, match=rf"^{name} \({value}\) must "):
            config_class(**{name: value})


@pytest.mark.parametrize("config_class", [PPOConfig, GradientPPOConfig])
@pytest.mark.parametrize("name", ["ent_coef_end", "target_kl"])
def test_what_may_be_left_out_must_not_be_negative(config_class: type, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} \(-1.0\) must not be negative$"):
        config_class(**{name: -1.0})
    assert getattr(config_class(**{name: 0.0}), name) == 0.0


@pytest.mark.parametrize(
    "buffer_class", [SequenceBuffer, EpisodeBuffer, PrioritisedSequenceBuffer, PrioritisedEpisodeBuffer]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_setting_of_a_buffer_is_infinite_or_nan(buffer_class: Any, value: float) -> None:
    sizes = {"capacity": 100, "sequence_length": 4, "batch_size": 8, "burn_in": 0}
    numbers = [field.name for field in dataclasses.fields(buffer_class) if field.type in ("int", "float")]
    assert set(numbers) >= set(sizes)
    for name in numbers:
        with pytest.raises(ValueError, match=rf"^{name} \({value}\) must "):
            buffer_class(**{**sizes, name: value})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_config_of_numpy_numbers_is_written_and_read_as_json(algorithm: str) -> None:
    _, config_class = ALGORITHMS[algorithm]
    numbers = {"learning_rate": np.float32(0.5), "total_steps": 1e6, "seed": np.int32(3), "features": np.int64(8)}
    options = {"time_limit": np.int64(5), "mask_observation": np.asarray([0, 2])}
    config = TrainConfig(
        config_class(gamma=np.float32(0.5)), algorithm=algorithm, environment_options=options, **numbers
    )
    settings = json.loads(json.dumps(config_to_json(config)))
    assert (settings["learning_rate"], settings["total_steps"], settings["seed"]) == (0.5, 1_000_000, 3)
    assert settings["environment_options"] == {"time_limit": 5, "mask_observation": [0, 2]}
    restored = dataclasses.replace(config, environment_options=settings["environment_options"])
    assert config_from_json(settings, "here") == restored


def test_values_of_numpy_are_values_of_python() -> None:
    assert plain_value(np.asarray([[1, 2]])) == ((1, 2),)
    assert plain_value(np.asarray(3.0)) == 3.0
    assert plain_value("text") == "text"


def test_numbers_that_json_lacks_become_text() -> None:
    value = {"low": [-np.inf, 0.5], "of": {"nan": (math.nan, 2**60, "text", None, True)}}
    plain = finite_json(value)
    assert plain == {"low": ["-inf", 0.5], "of": {"nan": ["nan", 2**60, "text", None, True]}}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
