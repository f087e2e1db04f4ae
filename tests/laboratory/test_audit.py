"""Audits: what is trained, what is told of it, and that they go on."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.audits import section, with_section
from memorax.cli import main
from memorax.evaluation.ambiguity import Ambiguity
from memorax.evaluation.runs import CONFIG_FILE
from memorax.laboratory import audit as audits
from memorax.laboratory.audit import AuditConfig, Task, audit_tasks, parse_tasks
from memorax.laboratory.audit_page import write_audit
from memorax.laboratory.executors import Executor, Job, JobHandle
from memorax.laboratory.measurement import Measurement, join_measurements, measure_random_play, measure_run
from memorax.laboratory.outcome import COMPLETED, FAILED, Outcome
from memorax.loggers.file import METRICS_FILE
from tests.laboratory.test_grid import Ended
from tests.training.small import CONFIG, run, small_agent

TASKS = (Task("memory::TMaze", {"length": 3}), Task("gymnasium::CartPole-v1"))
NEAR = np.array([-0.01, 0.0, 0.01])


class Pretends(Executor):
    """Writes what a run leaves behind, and trains nothing.

    Args:
        failing: torso whose runs fail.
    """

    workers = 1

    def __init__(self, failing: str | None = None) -> None:
        self.failing = failing
        self.jobs: dict[str, Mapping[str, Any]] = {}

    def submit(self, job: Job) -> JobHandle:
        settings = job.settings
        self.jobs[job.folder.name] = settings
        (job.folder / CONFIG_FILE).write_text(json.dumps({"memorax": "0.0.0", "config": settings}))
        seeds = range(settings["seed"], settings["seed"] + settings["num_seeds"])
        lines = [f"{seed},{step},1.0,{0.1 * seed}" for step in (10, 20) for seed in seeds]
        (job.folder / METRICS_FILE).write_text("\n".join(["seed,step,seconds,return", *lines]) + "\n")
        failed = settings["torso"] == self.failing
        Outcome(FAILED if failed else COMPLETED, settings["total_steps"], "it broke" * failed).write(job.folder)
        return Ended()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the run folders that were measured: with a GRU the return is 1, and random play's 0."""
    names: list[str] = []

    def measure(folder: Path, num_steps: int) -> Measurement:
        names.append(folder.name)
        config = json.loads((folder / CONFIG_FILE).read_text())["config"]
        seeds = tuple(range(config["seed"], config["seed"] + config["num_seeds"]))
        returns = tuple((0.5 + 0.5 * (config["torso"] == "gru") + NEAR[list(seeds)]).tolist())
        return Measurement(seeds, returns, returns, 0, tuple(Ambiguity(0.25, 0.5, False, False) for _ in seeds))

    monkeypatch.setattr(audits, "measure_run", measure)
    monkeypatch.setattr(audits, "measure_random_play", lambda *arguments: np.zeros(3))
    return names


def test_words_are_tasks() -> None:
    words = ["memory::TMaze", "length=3", "my_parts:echo", "gymnax::CartPole-v1", "mask_observation=0,2", "name=a=b"]
    tasks = parse_tasks(words)
    assert tasks == (
        Task("memory::TMaze", {"length": 3}),
        Task("my_parts:echo"),
        Task("gymnax::CartPole-v1", {"mask_observation": (0, 2), "name": "a=b"}),
    )
    assert " ".join(task.label for task in tasks) == " ".join(words)
    with pytest.raises(ValueError, match="option length=3 must follow the environment"):
        parse_tasks(["length=3", "memory::TMaze"])


def test_the_most_there_can_be_is_known_where_nothing_is_wrapped_around() -> None:
    assert TASKS[0].upper_bound == 1
    assert Task("popgym::RepeatFirstEasy", {"mask_observation": (0,)}).upper_bound is None
    assert TASKS[1].upper_bound is None


def test_an_audit_says_what_helps_and_goes_on(tmp_path: Path, measured: list[str]) -> None:
    config = AuditConfig(TASKS, total_steps=64, num_seeds=3)
    executor = Pretends()
    found = audit_tasks(config, tmp_path, executor)
    assert [each.verdict.word for each in found.tasks if each.verdict] == ["helps", "helps"]
    assert len(executor.jobs) == 3 + 3 * 3, "on the host, each seed is a run of its own"
    assert executor.jobs["memory-TMaze-length=3-recurrent"]["num_seeds"] == 3
    assert [executor.jobs[f"gymnasium-CartPole-v1-memoryless-{seed}"]["seed"] for seed in range(3)] == [0, 1, 2]
    jobs = [executor.jobs[f"memory-TMaze-length=3-{agent}"] for agent in ("memoryless", "frame-stack", "recurrent")]
    assert [job["torso"] for job in jobs] == ["mlp", "frame_stack", "gru"]
    assert [job["previous_action"] for job in jobs] == [False, True, True], "it would be a memory of its own"
    differing = {name for name in jobs[0] if len({json.dumps(job[name]) for job in jobs}) > 1}
    assert differing == {"torso", "torso_options", "previous_action", "previous_reward"}
    assert found.tasks[1].agents["recurrent"].seeds == (0, 1, 2)

    page = write_audit(found, tmp_path)
    text = (tmp_path / "audit.md").read_text().replace("\\", "")  # brackets are escaped
    assert "| memory::TMaze length=3 | 0 [0, 0] | 0.5 [0.4752, 0.5248] | 0.5 [0.4752, 0.5248] | 1 [" in text
    assert "| 25.0% of 50% | helps |" in text
    assert "memory helps: the recurrent agent is ahead by 0.5 [" in text
    assert (tmp_path / "pictures" / "learning_curves.svg").exists()
    assert page.read_text().count("<svg") == 1
    results = json.loads((tmp_path / "audit.json").read_text())
    assert results["tasks"][1]["agents"]["recurrent"]["greedy"] == [0.99, 1.0, 1.01]

    written = section(found, datetime.date(2026, 11, 28))
    assert "memorax audit memory::TMaze length=3 gymnasium::CartPole-v1 --total-steps 64 --num-seeds 3\n" in written
    assert "* gymnasium::CartPole-v1: memory helps" in written
    page_with_it = with_section("# Audits\n", written)
    assert with_section(page_with_it, written) == page_with_it

    measured.clear()
    audit_tasks(config, tmp_path, again := Pretends())
    assert not again.jobs
    assert len(measured) == 12
    with pytest.raises(ValueError, match=r"holds a run of 64 steps, not 128, .* choose another --folder"):
        audit_tasks(dataclasses.replace(config, total_steps=128), tmp_path, again)


def test_a_failure_is_told(
    tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("memorax.cli.audit.make_executor", lambda name, workers: Pretends("frame_stack"))
    command = ["audit", "memory::TMaze", "length=3", "--num-seeds", "3", "--total-steps", "64"]
    assert main([*command, "--folder", str(tmp_path / "audit")]) == 1
    told = capsys.readouterr().out
    assert "memory::TMaze length=3: frame stack failed: it broke" in told
    assert "1 [0.9752, 1.025]" in told, "the others are told all the same"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no task to audit: name at least one environment"),
        (["memory::TMaze", "memory::TMaze"], "task memory::TMaze is named twice"),
        (["memory::TMaze", "--num-seeds", "1"], "num_seeds (1) must be at least 2"),
        (["memory::TMaze", "--margin", "1"], "margin (1.0) must be at least 0 and below 1"),
        (["memory::TMase"], "unknown environment 'memory::TMase': did you mean"),
        (["memory::TMaze", "--torso", "gruu"], "unknown torso 'gruu': did you mean 'gru'"),
        (["memory::TMaze", "--steps", "1"], "did you mean --total-steps"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["audit", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_agents_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(small_agent(), CONFIG, tmp_path)
    found = measure_run(tmp_path, 128)
    assert found.seeds == (3, 4)
    assert all(-1 <= value <= 1 for value in (*found.greedy, *found.sampled))
    assert found.unfinished == 0
    assert all(0 <= each.share < 1 and each.repeated == 1 and not each.numbers for each in found.ambiguity)
    monkeypatch.setattr("memorax.laboratory.measurement.load_run", lambda folder: pytest.fail("measured again"))
    assert measure_run(tmp_path, 128) == found
    with pytest.raises(pytest.fail.Exception):
        measure_run(tmp_path, 256)


def test_the_better_way_to_act_counts() -> None:
    none = (Ambiguity(float("nan"), 0.0, False, False),)
    parts = [Measurement((0,), (1.0,), (3.0,), 1, none), Measurement((1,), (2.0,), (1.0,), 2, none)]
    joined = join_measurements(parts)
    assert (joined.seeds, joined.unfinished) == ((0, 1), 3)
    np.testing.assert_array_equal(joined.returns, [3, 1])
    assert np.isnan(joined.ambiguous).all()
    lost = (float("nan"),)
    assert Measurement((0,), lost, (1.0,), 0, none).returns == Measurement((0,), (1.0,), lost, 0, none).returns == 1


def test_random_play_is_legal_and_measured_once(tmp_path: Path) -> None:
    # A turn before the junction changes nothing, one to the left costs; half of the rest is lost at the junction.
    returns = measure_random_play(tmp_path, "memory::TMaze", {"length": 1}, 4096, 16, 2)
    assert returns.shape == (2,)
    assert returns[0] != returns[1]
    np.testing.assert_array_equal(measure_random_play(tmp_path, "nowhere", {}, 4096, 16, 2), returns)


@pytest.mark.slow
def test_the_command_audits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--num-seeds", "2", "--total-steps", "20000", "--evaluation-steps", "512"]
    assert main(["audit", "memory::TMaze", "length=2", *small, "--folder", str(tmp_path / "audit")]) == 0
    assert "memory::TMaze length=2" in capsys.readouterr().out
    assert (tmp_path / "audit" / "audit.html").exists()
