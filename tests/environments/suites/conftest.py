"""The suites are tested where their packages are: in the environment that `make test-environments` makes."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of suites out unless they are asked for: then a package that is missing is a failure."""
    asked_for = config.getoption("markexpr") == "environments"
    return True if collection_path.name.startswith("test_") and not asked_for else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.environments)
