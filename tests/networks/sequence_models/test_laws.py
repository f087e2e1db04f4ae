"""The laws of sequence models, over every one in the catalogue."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import pytest

from memorax import testing
from memorax.networks import TORSOS, sequence_models
from memorax.networks.sequence_models import RTRL, MemoroidCell, SequenceModel
from tests.catalogue import FEATURES, MODELS, PARTS
from tests.networks.sequence_models import laws

COMPOSED = ("gtrxl", "transformer_xl", "gpt2", "xlstm", "mamba_stack", "griffin", "s5_stack")
"""Made of parts that are tested by themselves."""


def models(is_fast: Callable[[str], bool]) -> list[Any]:
    """Every model; the slow tests have those that are left out of the fast ones."""
    return [pytest.param(name, marks=() if is_fast(name) else pytest.mark.slow) for name in MODELS]


# A part by the name of a torso is checked with the torso.
EVERY_KIND = models(lambda name: name not in TORSOS and name.removeprefix("torso:") not in COMPOSED)
ALONE = models(lambda name: name in PARTS and name not in COMPOSED)


def modules(part: Any) -> Iterator[nn.Module]:
    """Every module that a model is made of, itself included."""
    if isinstance(part, nn.Module):
        yield part
        part = tuple(getattr(part, field.name) for field in fields(part))
    if isinstance(part, tuple | list):
        for member in part:
            yield from modules(member)


def computing_in(dtype: Any, part: Any) -> Any:
    """A model all of whose modules compute in another type."""
    if isinstance(part, nn.Module):
        changes = {field.name: computing_in(dtype, getattr(part, field.name)) for field in fields(part)}
        return part.clone(**{name: dtype if name == "dtype" else value for name, value in changes.items()})
    return tuple(computing_in(dtype, member) for member in part) if isinstance(part, tuple | list) else part


def fields(module: nn.Module) -> list[dataclasses.Field[Any]]:
    """The settings of a module."""
    return [field for field in dataclasses.fields(module) if field.name not in ("parent", "name")]


def test_every_sequence_model_is_in_the_catalogue() -> None:
    exported = [getattr(sequence_models, name) for name in sequence_models.__all__]
    kinds = {x for x in exported if isinstance(x, type) and issubclass(x, SequenceModel | MemoroidCell)}
    # RTRL changes the gradient through time: it has tests of its own.
    missing = (
        kinds - {SequenceModel, MemoroidCell, RTRL} - {type(x) for model in MODELS.values() for x in modules(model)}
    )
    assert not missing
    assert len({hash(model) for model in MODELS.values()}) > 1, "models can be keys"


@pytest.mark.parametrize("name", EVERY_KIND)
def test_acts_as_it_learns_and_never_leaks(name: str) -> None:
    # What sees nothing but its own step has a carry of no use.
    exempt = ("outputs depend on the carry",) if name == "attention_to_itself" else ()
    testing.check_sequence_model(MODELS[name], FEATURES, exempt=exempt)


@pytest.mark.parametrize("name", ALONE)
def test_gradient_is_that_of_the_steps_and_knows_nothing_from_before_a_reset(name: str) -> None:
    laws.check_gradient(MODELS[name], FEATURES)
    laws.check_reset(MODELS[name], FEATURES)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_ten_thousand_steps(name: str) -> None:
    laws.check_long_sequence(MODELS[name], FEATURES)


@pytest.mark.parametrize("name", ALONE)
def test_bfloat16(name: str) -> None:
    laws.check_bfloat16(MODELS[name], computing_in(jnp.bfloat16, MODELS[name]), FEATURES)


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) if x in COMPOSED else x for x in PARTS])
def test_vmap_over_parameters(name: str) -> None:
    laws.check_vmap_over_parameters(MODELS[name], FEATURES)
