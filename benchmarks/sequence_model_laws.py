"""The laws every sequence model keeps, as a table: `python -m benchmarks.sequence_model_laws`.

It runs where `make test-parity` does, in an environment with the packages that models are compared with. Each entry is
the outcome of a check that the tests make too, at the same sizes; where a check measures an error, the error. Writes
`docs/sequence_model_laws.md`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import tyro

from memorax import testing
from tests.catalogue import FEATURES, PARTS
from tests.networks.sequence_models import laws
from tests.networks.sequence_models.test_laws import computing_in
from tests.networks.sequence_models.test_packages import PACKAGES, check_parity_with_a_package
from tests.networks.sequence_models.test_parity import PARITY, check_parity

HEADER = """# What holds for every sequence model

Made by `.venv-parity/bin/python -m benchmarks.sequence_model_laws`. A sequence, any chunks of it and single steps give
the same outputs and carries within 1e-5, nothing leaks across a reset in either direction, not even a NaN, and no
gradient flows across one (`memorax.testing.check_sequence_model`). The gradient is that of the step-by-step loop
(largest difference relative to the largest entry). In bfloat16 the parameters and the carry stay float32. 10 000 steps
of one episode stay finite, and end the same in two calls within 1e-5, beside what float32 resolves of an entry (1e-6 of
it); SHM, whose memory has entries of 10 000, within 1e-3. Parity is twofold: with a transcription of the paper's
equations in float64 NumPy, step by step, and with a package by others, weights copied over (`make test-parity`); for
each the source, and the largest difference relative to the largest output.

"""


@dataclass(frozen=True)
class Options:
    """Where the table goes."""

    table: Path = Path("docs/sequence_model_laws.md")


def outcome(check: Callable[[], float | None]) -> str:
    """What a check measured, "yes" where it measures nothing, or what does not hold."""
    try:
        error = check()
    except AssertionError as problem:
        return f"**no**: {str(problem).strip().splitlines()[0]}"
    return "yes" if error is None else f"{error:.0e}"


def first_words(reference: Callable[..., object]) -> str:
    """The first line of a docstring up to a colon."""
    function = reference.func if isinstance(reference, functools.partial) else reference
    return (function.__doc__ or "").strip().splitlines()[0].split(":")[0].rstrip(".")


def row(name: str) -> list[str]:
    """A line of the table."""
    model, half = PARTS[name], computing_in(jnp.bfloat16, PARTS[name])
    paper = [first_words(PARITY[name][2]), outcome(lambda: check_parity(name))] if name in PARITY else ["", ""]
    package = ["", ""]
    if name in PACKAGES:
        package = [first_words(PACKAGES[name][1]), outcome(lambda: check_parity_with_a_package(name))]
    return [
        name,
        outcome(lambda: testing.check_sequence_model(model, FEATURES)),
        outcome(lambda: laws.check_gradient(model, FEATURES)),
        outcome(lambda: laws.check_bfloat16(half, FEATURES)),
        outcome(lambda: laws.check_long_sequence(model, FEATURES)),
        *paper,
        *package,
    ]


def main() -> None:
    """Check everything and write the table."""
    options = tyro.cli(Options, description=__doc__)
    columns = [
        "model",
        "acts as it learns, no leak",
        "gradient",
        "bfloat16",
        "10 000 steps",
        "paper",
        "parity",
        "package",
        "parity",
    ]
    lines = [columns, ["---"] * len(columns)]
    for name in PARTS:
        lines.append(row(name))
        print(" | ".join(lines[-1]), flush=True)
    options.table.write_text(HEADER + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")


if __name__ == "__main__":
    main()
