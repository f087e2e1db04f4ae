from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memorax.evaluation import plot_runs
from memorax.evaluation.facts import read_facts
from memorax.evaluation.report import write_report
from memorax.training.folder import load_config
from memorax.training.record import read_record
from tests.evaluation.make_run import add_facts, make_run

BY_NAME = "must be facts by name, {...}: mend the file"
COUNT = "must be a whole number, 0 or more: mend the file"
ORIGIN = "must be facts by name, with texts for random_keys and device and, under versions, those by name: mend the"
ORIGINS = "must be a list of facts by name, [{...}]: mend the file"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"id": None}, "id (None) must be text"),
        ({"name": 3}, "name (3) must be text"),
        *(({"seed": value}, f"seed ({value!r}) {COUNT}") for value in (None, "x", 0.0, -1, True)),
        *(
            ({"num_seeds": value}, f"num_seeds ({value!r}) must be a whole number, 1 or more")
            for value in (None, "x", 2.0, 0)
        ),
        ({"total_steps": None}, f"total_steps (None) {COUNT}"),
        ({"config": {"total_steps": "1e3"}}, "config.total_steps ('1e3') must be a number"),
        *(({"tags": value}, f"tags ({value!r}) must be a list of texts") for value in (None, "abc", [1])),
        *(({"origin": value}, f"origin ({value!r}) {ORIGIN}") for value in (None, [], "x")),
        *(({"origin": value}, f"origin ({value!r}) {ORIGIN}") for value in ({"versions": None}, {"random_keys": 5})),
        *(({"resumed": value}, f"resumed ({value!r}) {ORIGINS}") for value in (None, [3], [{"versions": 3}])),
        *(({"agent": value}, f"agent ({value!r}) {BY_NAME}") for value in (None, [1])),
        *(({"interface": value}, f"interface ({value!r}) {BY_NAME}") for value in (None, [])),
        ({"interface": {"wrappers": []}}, f"interface.wrappers ([]) {BY_NAME}"),
        *(({"parameters": value}, f"parameters ({value!r}) must be numbers by name") for value in (None, {"a": "9"})),
        *(
            ({"config": {"hyperparameters": value}}, f"config.hyperparameters ({value!r}) {BY_NAME}")
            for value in (None, [], [1])
        ),
        (
            {"config": {"hyperparameters": {}, "environment_options": []}},
            f"config.environment_options ([]) {BY_NAME}",
        ),
    ],
)
def test_a_fact_of_another_kind_is_named_whatever_reads_it(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    folder = add_facts(make_run(tmp_path / "a", (0,)), **facts)
    for read in (
        read_facts,
        load_config,
        read_record,
        lambda run: plot_runs([run], tmp_path / "a.png"),
        lambda run: write_report([run], tmp_path),
    ):
        with pytest.raises(ValueError) as raised:
            read(folder)
        assert str(raised.value).startswith(f"{folder / 'config.json'}: {message}")
        assert "\n" not in str(raised.value)
