"""The names of the package itself."""

from __future__ import annotations

import pytest

import memorax


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("load_run", "has no attribute 'load_run': it is memorax.training.load_run"),
        ("PPOConfig", "has no attribute 'PPOConfig': it is memorax.algorithms.PPOConfig"),
        ("nothing", "has no attribute 'nothing'$"),
    ],
)
def test_a_name_of_one_of_its_modules_is_pointed_to(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(memorax, name)
