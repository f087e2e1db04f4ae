"""A report of runs that can be published: statistics with intervals, pictures, and how each run was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from memorax.evaluation.comparison import Comparison
from memorax.evaluation.curves import group_runs
from memorax.evaluation.facts import read_facts
from memorax.evaluation.pages import Block, Picture, markdown, webpage
from memorax.evaluation.provenance import Run, how_runs_were_made, notes
from memorax.evaluation.runs import CONFIG_FILE, has_metrics, read_metrics
from memorax.evaluation.scores import score_runs
from memorax.evaluation.statistics import RESAMPLES
from memorax.laboratory.outcome import OUTCOME_FILE

PICTURES_FOLDER = "pictures"


def write_report(
    folders: Sequence[str | Path],
    output: str | Path,
    metric: str | None = None,
    labels: Sequence[str] = (),
    bounds: Mapping[str, tuple[float, float]] | None = None,
    reference: str | None = None,
    last: int = 1,
    resamples: int = RESAMPLES,
) -> Path:
    """Write a report of runs as `report.md`, with pictures beside it, and as `report.html`, one file with everything.

    Runs that differ only in their seeds are one setting; a run that logged nothing is left out and noted. The return of
    a seed is the mean of its last values of the metric; scores are returns on one scale for all tasks. Aggregates are
    over the tasks that every setting has.

    Args:
        folders: run folders.
        output: the folder to write to.
        metric: the column of `metrics.csv` to report; by default `evaluation_return`, or `return` where a run has no
            evaluation.
        labels: a label for each run, in place of what tells it from the others; runs of one task with the same label
            are one setting.
        bounds: the returns that scores 0 and 1 stand for, by an environment's id or the beginning of ids; see
            `score_runs`.
        reference: label of the setting that the others are compared with; by default that of the first run.
        last: how many of the last values of a seed its return is the mean of.
        resamples: how many times runs are drawn again for the intervals.

    Returns:
        The path of the HTML page.

    Raises:
        ValueError: if a folder holds no metrics or not this one, what a run says of itself cannot be read, a seed of
            one setting is there twice, no setting has the label `reference`, or bounds are not valid.
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise ValueError("no run to report: name at least one run folder")
    if labels and len(labels) != len(paths):
        raise ValueError(f"labels ({len(labels)}) must be one for each of the {len(paths)} runs")
    if resamples < 1:
        raise ValueError(f"resamples ({resamples}) must be a positive number")
    silent = [path for path in paths if _ended_at_once(path)]
    if len(silent) < len(paths):
        labels = [label for label, path in zip(labels, paths, strict=False) if path not in silent]
        paths = [path for path in paths if path not in silent]
    tables = [read_metrics(path) for path in paths]
    runs = [Run(path, read_facts(path), table) for path, table in zip(paths, tables, strict=True)]
    metric = metric or reported_metric(tables)
    groups = group_runs(paths, tables, metric, labels)
    scores = score_runs(groups, bounds or {}, last)
    reference = scores.settings[0] if reference is None else reference
    if reference not in scores.settings:
        raise ValueError(f"reference ({reference}) must be the label of a setting: {'; '.join(scores.settings)}")
    comparison = Comparison(scores, metric, reference, resamples)
    blocks = [
        *comparison.opening(len(runs)),
        *comparison.aggregated(),
        *comparison.by_task(),
        *how_runs_were_made(runs, groups),
        *notes(runs, groups, scores, silent),
    ]
    return write_pages(Path(output), "report", "Memorax report", blocks)


def reported_metric(tables: Sequence[Mapping[str, np.ndarray]]) -> str:
    """The return in evaluations where every run has one, otherwise that of training episodes.

    Args:
        tables: metrics of each run, as `read_metrics` returns them.
    """
    evaluated = all(np.isfinite(table.get("evaluation_return", np.nan)).any() for table in tables)
    return "evaluation_return" if evaluated else "return"


def _ended_at_once(folder: Path) -> bool:
    """Whether a folder is that of a run that failed or was killed before it logged anything."""
    return any((folder / name).is_file() for name in (CONFIG_FILE, OUTCOME_FILE)) and not has_metrics(folder)


def write_pages(output: Path, name: str, title: str, blocks: Sequence[Block]) -> Path:
    """Write blocks as `NAME.md`, with pictures in a folder beside it, and as `NAME.html`, one file with everything.

    Returns:
        The path of the HTML page.
    """
    pictures = output / PICTURES_FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Picture):
            (pictures / f"{block.name}.svg").write_text(block.svg, encoding="utf-8")
    (output / f"{name}.md").write_text(markdown(blocks, PICTURES_FOLDER), encoding="utf-8")
    page = output / f"{name}.html"
    page.write_text(webpage(title, blocks), encoding="utf-8")
    return page
