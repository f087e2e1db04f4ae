"""The report of runs: what it says, and that a browser shows it."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from memorax.cli import main
from memorax.cli.report import parse_bounds
from memorax.evaluation import read_metrics
from memorax.evaluation.report import reported_metric, write_report
from tests.evaluation.make_run import make_run

PICTURES = [
    "aggregates",
    "improvement",
    "sample_efficiency",
    "performance_profiles",
    "sample_efficiency_by_task",
    "performance_profiles_by_task",
]

MEASURE = """
<script>
const drawn = [...document.querySelectorAll("svg")];
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
const uses = [...document.querySelectorAll("use")].map((use) => use.getAttribute("xlink:href").slice(1));
document.body.innerHTML = JSON.stringify({
  sizes: drawn.map((svg) => [svg.getBoundingClientRect().width, svg.getBoundingClientRect().height]),
  shapes: drawn.map((svg) => [...svg.querySelectorAll("path, text, use")].filter((part) => {
    const box = part.getBoundingClientRect();
    return box.width + box.height > 0;
  }).length),
  repeated: ids.length - new Set(ids).size,
  missing: uses.filter((id) => !ids.includes(id)).length,
});
</script>
"""
"""Replaces a page by what its pictures measure."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two settings in two tasks, one of them with a seed less, and a run that is not complete."""
    root = tmp_path_factory.mktemp("report")
    origin = {
        "date": "2026-01-02T03:04:05+00:00",
        "command": "memorax train --torso gru --environment 'popgym::A<b>'",
        "commit": "abc123",
        "versions": {"memorax": "2.0.0", "jax": "0.10.2"},
        "device": "1 x H100",
        "machine": "Xeon, 16 cores",
    }
    runs = [
        make_run(root / "a", (0, 1, 2), -30.0, environment="a", total_steps=40),
        make_run(root / "b", (0, 1), -30.0, environment="memory::B", total_steps=40),
        make_run(root / "c", (0, 1, 2), 0.5, environment="a", torso="mlp", total_steps=40),
        make_run(root / "d", (5, 6, 7), 0.0, environment="memory::B", torso="mlp", steps=(10, 20), total_steps=40),
    ]
    for run in runs[:2]:
        content = json.loads((run / "config.json").read_text())
        content |= {"origin": origin, "parameters": {"actor": 1234, "critic": 56}}
        (run / "config.json").write_text(json.dumps(content))
    resumed = json.loads((runs[0] / "config.json").read_text()) | {"resumed": [{**origin, "device": "2 x H100"}]}
    (runs[0] / "config.json").write_text(json.dumps(resumed))
    arguments = ["report", *map(str, runs), "--output", str(root / "report"), "--resamples", "50"]
    arguments += ["--normalize", "a=0,20", "--metric", "evaluation_return", "--reference", "mlp"]
    assert main(arguments) == 0
    return root / "report"


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table after a heading of a Markdown page, without escapes."""
    lines = page.partition(f"{heading}\n")[2].partition("\n|")[2].partition("\n\n")[0].splitlines()
    return [re.sub(r"\\(.)", r"\1", line).strip("| ").split(" | ") for line in lines[2:]]


def test_numbers_are_those_of_the_runs(folder: Path) -> None:
    """The last evaluation of a seed is at step 40, or 20 in the last run: offset + step + seed."""
    page = (folder / "report.md").read_text()
    aggregated = table(page, "## All tasks")
    assert [row[:2] for row in aggregated] == [["gru", "2 to 3"], ["mlp", "3"]]
    # gru: (10, 11, 12) / 20 and (10, 11); mlp: (40.5, 41.5, 42.5) / 20 and (25, 26, 27).
    assert [row[4].split()[0] for row in aggregated] == ["5.525", "14.037"]
    assert [row[5].split()[0] for row in aggregated] == ["0.225", "0.000"]
    low, high = map(float, re.findall(r"\[(.*), (.*)\]", aggregated[0][4])[0])
    assert 5.0 < low < 5.525 < high < 5.9
    scales, by_task = page.partition("## Tasks")[2].split("Interquartile means", 1)
    assert "| a | 0 | 20 | given |" in scales and "| memory::B | 0 | 1 | known |" in scales
    rows = table(by_task, "not scaled.")
    assert [row[:3] for row in rows] == [
        ["a", "gru", "3"],
        ["a", "mlp", "3"],
        ["memory::B", "gru", "2"],
        ["memory::B", "mlp", "3"],
    ]
    assert [row[4].split()[0] for row in rows] == ["11", "41.5", "10.5", "26"]
    assert rows[0][6] == "0.000 [0.000, 0.000]" and len(rows[1]) == 6, "the reference is not compared with itself"


def test_it_says_how_runs_were_made(folder: Path) -> None:
    page = (folder / "report.md").read_text()
    rows = table(page, "## How the runs were made")
    assert rows[0][1:] == [
        *("a", "gru", "0, 1, 2", "40", "actor 1,234, critic 56", "0:00:01"),
        *("2026-01-02T03:04:05+00:00", "1 x H100 then 2 x H100"),
    ]
    assert rows[3][3:5] == ["5, 6, 7", "20"] and rows[3][5] == "not recorded"
    assert "\nmemorax train --torso gru --environment 'popgym::A<b>'\n" in page
    assert "* memorax 2.0.0, jax 0.10.2; commit abc123: " in page
    assert "* 2 x H100; Xeon, 16 cores: " in page


def test_it_notes_what_a_reader_must_know(folder: Path) -> None:
    notes = (folder / "report.md").read_text().partition("## Notes\n\n")[2].splitlines()
    assert [note.replace(str(folder.parent).replace("_", r"\_"), "") for note in notes] == [
        "* /d reached step 20 of 40: its seeds count with what they had reached.",
        "* gru has 2 seeds in memory::B, where others have up to 3.",
        "* With fewer than 5 seeds in a task, bootstrap intervals of that task are too narrow.",
    ]


class References(html.parser.HTMLParser):
    """Collects what a page refers to, and its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "srcset", "data")]
        self.found += [tag] if tag in ("script", "link", "iframe", "object") else []


def test_the_page_stands_by_itself(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    parser = References()
    parser.feed(page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids)) and len(parser.found) > 10
    assert {reference.removeprefix("#") for reference in parser.found} <= set(ids)
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    pictures = sorted(path.name for path in (folder / "pictures").iterdir())
    assert pictures == sorted(f"{name}.svg" for name in PICTURES)
    assert page.count("<svg") == len(PICTURES)
    for name in PICTURES:
        ElementTree.parse(folder / "pictures" / f"{name}.svg")
        assert f"](pictures/{name}.svg)" in (folder / "report.md").read_text()


def test_a_browser_shows_its_pictures_and_has_nothing_to_say(folder: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    page = tmp_path / "measured.html"
    page.write_text((folder / "report.html").read_text().replace("</body>", f"{MEASURE}</body>"))
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [browser, *arguments, "--enable-logging=stderr", "--window-size=1200,900", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert [line for line in shown.stderr.splitlines() if ":CONSOLE" in line] == []
    measured = json.loads(re.findall(r"<body>(.*)</body>", shown.stdout, flags=re.DOTALL)[0])
    assert len(measured["sizes"]) == len(PICTURES)
    assert all(width > 300 and height > 100 for width, height in measured["sizes"])
    assert all(shapes > 20 for shapes in measured["shapes"])
    assert (measured["repeated"], measured["missing"]) == (0, 0)


def test_curves_over_tasks_of_different_lengths_are_over_shares_of_them(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", (0, 1), 0.0, environment="a", steps=(10, 20)),
        make_run(tmp_path / "b", (0, 1), 0.0, environment="b", steps=(100, 200)),
    ]
    assert main(["report", *map(str, runs), "--output", str(tmp_path / "report"), "--resamples", "20"]) == 0
    over_all, by_task = (tmp_path / "report" / "report.md").read_text().split("## Tasks")
    assert "as shares of the longest training in a task" in over_all
    assert "share of a task's environment steps" in (tmp_path / "report/pictures/sample_efficiency.svg").read_text()
    assert "as shares" not in by_task


def test_options_of_an_environment_are_tasks_with_scales_of_their_own(tmp_path: Path) -> None:
    """A task that pays more does not make the other one look worse, and nothing is compared between the two."""
    runs = [
        make_run(
            tmp_path / f"{torso}{delay}", (0, 1), offset + better, torso=torso, environment_options={"delay": delay}
        )
        for delay, offset in ((3, 0.0), (5, 1000.0))
        for torso, better in (("gru", 0.0), ("mlp", 500.0))
    ]
    write_report(runs, tmp_path / "report", resamples=9)
    page = (tmp_path / "report" / "report.md").read_text()
    assert "# 2 settings, 2 tasks" in page
    assert [row[:2] for row in table(page, "## All tasks")] == [["gru", "2"], ["mlp", "2"]]
    assert [row[:3] for row in table(page, "## Tasks")] == [
        ["suite::Task delay=3", "20", "541"],
        ["suite::Task delay=5", "1020", "1541"],
    ]
    improved = [row[-1] for row in table(page, "not scaled.") if row[1] == "mlp"]
    assert improved == ["1.000 [1.000, 1.000]"] * 2
    with_bounds = write_report(runs, tmp_path / "bounds", bounds={"suite::Task delay=5": (0, 2000)}, resamples=9)
    assert "<td>suite::Task delay=5</td><td>0</td><td>2000</td><td>given</td>" in with_bounds.read_text()


def test_settings_without_a_task_in_common_are_reported_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", (0,), environment="a"), make_run(tmp_path / "b", (0,), environment="b")]
    page = write_report(runs, tmp_path / "report", labels=("x|y", "z"), resamples=9).read_text()
    assert "there is nothing to aggregate" in page and page.count("<svg") == 2
    assert "x|y has no runs in b" in page and "A single seed gives no interval" in page


def test_runs_that_logged_nothing_are_left_out_and_noted(tmp_path: Path) -> None:
    names = ("failed", "begun", "header")
    silent = [tmp_path / name for name in names]
    for folder, file in zip(silent, ("outcome.json", "config.json", "config.json"), strict=True):
        folder.mkdir()
        (folder / file).touch()
    (silent[2] / "metrics.csv").write_text("seed,step\n")
    runs = [silent[0], make_run(tmp_path / "a", (0,)), *silent[1:]]
    page = write_report(runs, tmp_path / "report", labels=("w", "x", "y", "z"), resamples=9).read_text()
    assert page.count("ended before it logged anything and is left out") == 3
    assert "<td>x</td>" in page and "<h1>1 setting, 1 task</h1>" in page
    with pytest.raises(ValueError, match=r"failed holds no metrics\.csv"):
        write_report(silent, tmp_path / "report")
    with pytest.raises(ValueError, match=r"labels \(1\) must be one for each of the 2 runs"):
        write_report(runs[:2], tmp_path / "report", labels=("x",))


def test_evaluations_count_where_every_run_has_one(tmp_path: Path) -> None:
    """A single evaluation is one: it is the training episodes that must be asked for."""
    once = make_run(tmp_path / "once", (0, 1), environment="a", steps=(10, 20, 30))
    never = make_run(tmp_path / "never", (0, 1), environment="b", steps=(10,))
    tables = [read_metrics(once), read_metrics(never)]
    assert reported_metric(tables[:1]) == "evaluation_return"
    assert reported_metric(tables) == "return"
    page = write_report([never], tmp_path / "report", resamples=9).read_text()
    assert "its last return, the mean return of training episodes, in which" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folders": []}, "no run to report: name at least one run folder"),
        ({"reference": "lstm"}, r"reference \(lstm\) must be the label of a setting: ppo, gru"),
        ({"resamples": 0}, r"resamples \(0\) must be a positive number"),
        ({"metric": "reward"}, "has no metric 'reward': choose from seed, step"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_report(**{"folders": [make_run(tmp_path / "a", (0,))], "output": tmp_path / "report", **arguments})
    assert not (tmp_path / "report").exists()


def test_bounds_are_read() -> None:
    assert parse_bounds(["gymnax::CartPole-v1=0,500", "x=y=-1.5,2e1"]) == {
        "gymnax::CartPole-v1": (0, 500),
        "x=y": (-1.5, 20),
    }
    for word in ("a=1", "a", "a=1,b", "a=1,2,3"):
        with pytest.raises(ValueError, match=rf"normalize \({word}\) must be NAME=LOW,HIGH"):
            parse_bounds([word])
