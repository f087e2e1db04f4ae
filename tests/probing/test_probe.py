"""The probes of runs and the page that shows them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from memorax.cli import main
from memorax.evaluation.pages import Items, Paragraph, Picture, Table
from memorax.probing import Influence, Readout, Survival
from memorax.probing.page import page_of
from memorax.probing.pictures import draw_probes
from memorax.probing.probe import AgentProbe, Memory, Recording, RunProbe
from memorax.probing.returns import Returns, ReturnsByLength
from memorax.probing.stored_carries import Drift
from memorax.training import run_config
from tests.probing.small import timesteps
from tests.training.small import CONFIG, STEPS

PICTURES = (
    *("influence", "episode", "lengths", "wiped", "norms", "survival", "time_scales"),
    *("readout_carry", "readout_output", "drift"),
)
DOCS = Path(__file__).parent.parent.parent / "docs"
LAGS = np.array([1.0, 0.5, 0.25, np.nan])
READOUT = Readout(LAGS, np.full(4, 0.25), of_choices=True)


def remembering(label: str, environment: str) -> RunProbe:
    """The probes of a run whose agents remember."""
    survival = Survival(LAGS, np.array([[1, 1], [0.5, 1]]))
    return RunProbe(
        folder=Path("runs") / label,
        label=label,
        environment=environment,
        step=1000,
        seed=3,
        returns=Returns(np.array([0.5, 1.0]), longest=4, unfinished=0),
        wiped=Returns(np.array([0.0, 0.25]), longest=4, unfinished=0),
        by_length=ReturnsByLength("length", 4, np.array([2, 4]), np.array([[0.5, 1], [1, 1]])),
        agent=AgentProbe(Influence(LAGS, np.arange(3), np.tri(3)), READOUT, Memory(LAGS, LAGS, survival, READOUT)),
        drift=Drift(LAGS, "an earlier checkpoint"),
    )


def memoryless(label: str, environment: str) -> RunProbe:
    """The probes of a run whose agents have no carry, in a task without a length."""
    known = remembering(label, environment)
    agent = dataclasses.replace(known.agent, memory=None)
    return dataclasses.replace(known, wiped=None, by_length=None, agent=agent, drift=None)


def test_the_page_shows_what_applies_and_says_what_does_not() -> None:
    cards = dataclasses.replace(remembering("gru", "b::Cards"), drift=None)
    cut = dataclasses.replace(cards.agent.memory, survival=Survival(np.array([1.0, 0.0]), np.array([[1.0], [0.0]])))
    cards = dataclasses.replace(cards, agent=dataclasses.replace(cards.agent, memory=cut))
    probes = [remembering("gru", "a::Maze"), memoryless("mlp", "a::Maze"), cards]
    blocks = page_of(probes)
    assert [block.name for block in blocks if isinstance(block, Picture)] == list(PICTURES)
    shown = {block.name: block.svg for block in blocks if isinstance(block, Picture)}
    assert "a::Maze" in shown["survival"] and "b::Cards" in shown["survival"]
    assert "mlp" in shown["influence"] and "mlp" not in shown["survival"]
    said = [block.text for block in blocks if isinstance(block, Paragraph) and re.match(r"\w+ in ", block.text)]
    carry = "mlp in a::Maze: no carry, nothing is remembered from step to step."
    length = "mlp in a::Maze: the environment has no option that sets how long must be remembered."
    assert said[:-1] == [length, *[carry] * 5]
    assert said[-1].startswith("gru in b::Cards: neither a replay buffer with its carries nor an earlier checkpoint")
    (sources,) = (block.texts for block in blocks if isinstance(block, Items))
    assert sources == ["gru in a::Maze: carries from an earlier checkpoint."]
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert table.rows[0] == ("gru", "a::Maze", "1,000", "3", "0.75", "0.125", "0", "2", "1.0 steps")
    assert table.rows[1][-1] == table.rows[1][5] == "no carry"
    assert table.rows[2][-1] == "no gradient"


def test_runs_without_any_memory_have_a_page_too() -> None:
    blocks = page_of([memoryless("mlp", "a::Maze")])
    assert [block.name for block in blocks if isinstance(block, Picture)] == ["influence", "episode", "readout_output"]


def test_lines_of_one_label_have_one_color() -> None:
    probes = [remembering("lru", "a::Maze"), remembering("gru", "b::Cards"), remembering("lru", "b::Cards")]
    maze, cards = draw_probes(probes)["survival"].axes
    colors = {line.get_label(): line.get_color() for line in cards.lines}
    assert maze.lines[0].get_color() == colors["lru"] != colors["gru"]


def test_the_longest_episode_of_a_recording() -> None:
    assert Recording(timesteps(), jnp.zeros((2, 1))).longest == 5


def test_the_page_of_probes_probes_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(CONFIG, total_steps=2 * STEPS, log_interval=STEPS, evaluation_interval=2 * STEPS)
    page = (DOCS / "probes.md").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("memorax.probing.returns.FACTORS", (0.5, 20))
    run_config(config, tmp_path / "runs" / "gru")
    namespace: dict[str, Any] = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == sorted(PICTURES)
    (probe,) = namespace["probes"]
    assert (probe.label, probe.seed, probe.step) == ("ppo, gru", 3, 2 * STEPS)
    assert probe.by_length.values.tolist() == [2], "k=80 is refused by one deck of cards"
    assert probe.returns.by_seed.shape == probe.wiped.by_seed.shape == (2,)
    assert probe.agent.influence.by_lag.shape == (51,), "an episode takes 51 steps"
    assert 0 < probe.drift.by_step[0] < 1 and probe.drift.source == f"its parameters {STEPS} steps earlier"
    assert main(["probe", "runs/gru", "--seed", "9"]) == 2
    assert "seed (9) must be one of the run's: 3, 4" in capsys.readouterr().err


def test_the_command_writes_the_page_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = []

    def probe_runs(*arguments: Any) -> list[RunProbe]:
        given[:] = arguments
        return [memoryless("mlp", "a::Maze")]

    monkeypatch.setattr("memorax.probing.page.probe_runs", probe_runs)
    arguments = ["probe", "runs/a", "--label", "x", "--seed", "4", "--episodes", "5", "--step", "best"]
    assert main([*arguments, "--output", str(tmp_path / "folder")]) == 0
    assert given == [(Path("runs/a"),), ("x",), 4, 5, "best"]
    written = tmp_path / "folder" / "probe.html"
    assert capsys.readouterr().out == f"{written}\n"
    assert written.read_text().count("<svg") == 3
    assert main([*arguments, "--output", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text() == written.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run to probe: name at least one run folder"),
        (["nowhere"], "nowhere does not exist: name the folder of a run"),
        (["nowhere", "--episodes", "1"], "episodes (1) must be at least 2"),
        (["nowhere", "nowhere"], "nowhere is named twice: a run counts once"),
        (["nowhere", "--label", "a", "b"], "labels (2) must be one for each of the 1 runs"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", *arguments]) == 2
    assert message in capsys.readouterr().err
