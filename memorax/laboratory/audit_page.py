"""The page of an audit: what each task was found to need, by which rule, and how that was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memorax.evaluation.curves import group_runs
from memorax.evaluation.facts import read_facts
from memorax.evaluation.pages import Block, Heading, Items, Paragraph, Picture, Table, svg
from memorax.evaluation.plot import draw_runs, make_panels
from memorax.evaluation.provenance import Run, how_runs_were_made
from memorax.evaluation.report import write_pages
from memorax.evaluation.runs import read_metrics
from memorax.evaluation.statistics import interval_text
from memorax.evaluation.verdict import RISK
from memorax.laboratory.audit import FRAME_STACK, MEMORYLESS, NUM_FRAMES, RECURRENT, Audit, TaskAudit

PAGE = "audit"
METRIC = "return"

COLUMNS = ("task", "random play", MEMORYLESS, FRAME_STACK, RECURRENT, "ambiguous steps", "memory")


def write_audit(found: Audit, folder: str | Path) -> Path:
    """Write an audit as `audit.md`, with pictures beside it, and as `audit.html`, one file with everything.

    Returns:
        The path of the HTML page.
    """
    return write_pages(Path(folder), PAGE, "Memorax audit", _blocks(found))


def audit_rows(found: Audit) -> list[tuple[str, ...]]:
    """A row of texts for each task, under `COLUMNS`."""
    return [_row(each) for each in found.tasks]


def audit_reasons(found: Audit) -> list[str]:
    """A sentence for each task: its verdict, or what failed."""
    return [f"{each.task.label}: {_reason(each)}" for each in found.tasks]


def _row(each: TaskAudit) -> tuple[str, ...]:
    agents = [interval_text(each.agents[name].returns) if name in each.agents else "failed" for name in COLUMNS[2:5]]
    word = "failed" if each.verdict is None else each.verdict.word
    return each.task.label, interval_text(each.random), *agents, _ambiguous(each), word


def _reason(each: TaskAudit) -> str:
    if each.verdict is None:
        return "; ".join(f"{agent} failed: {message}" for agent, message in each.failures.items())
    unfinished = sum(measurement.unfinished for measurement in each.agents.values())
    note = f" ({unfinished} episodes outlasted the measurement and count with what they had reached)"
    return each.verdict.reason + note * (unfinished > 0)


def _ambiguous(each: TaskAudit) -> str:
    """The share of ambiguous steps of the recurrent agent, and the share of steps that it is of."""
    if RECURRENT not in each.agents:
        return "failed"
    measurement = each.agents[RECURRENT]
    shares, repeated = measurement.ambiguous, np.mean([seed.repeated for seed in measurement.ambiguity])
    if np.isnan(shares).all():
        return "no observation repeats"
    text = f"{np.nanmean(shares):.1%} of {repeated:.0%}"
    if any(seed.numbers for seed in measurement.ambiguity):
        text += " (variance)"
    if any(seed.rounded for seed in measurement.ambiguity):
        alone = np.nanmean(each.agents[MEMORYLESS].ambiguous) if MEMORYLESS in each.agents else np.nan
        text += f" (rounded; memoryless {alone:.1%})"
    return text


def _blocks(found: Audit) -> list[Block]:
    config, pictures = found.config, [_curves(found)]
    names = {name: _agent(name, settings) for name, settings in config.agents.items()}
    number = len(found.tasks)
    return [
        Heading(f"Is memory needed? {number} task{'s' * (number != 1)}", 1),
        Paragraph(
            f"PPO was trained for {config.total_steps:,} steps with {config.num_seeds} seeds of each of three agents: "
            f"{'; '.join(names.values())}. All else is the same. A seed's return is the mean of its episodes within "
            f"{config.evaluation_steps:,} steps after training, with best actions or with actions drawn as in "
            "training, whichever is better for the agent: without memory, the best policy may have to be random. "
            "Brackets are 95 % intervals of the mean over seeds (Student's t)."
        ),
        Table(COLUMNS, audit_rows(found)),
        Items(audit_reasons(found)),
        Heading("The rule"),
        Items(
            [
                "Undecided, if no agent is above random play.",
                "Not needed, if the memoryless agent is certain to be less than "
                f"{config.margin:.0%} of the way from random play to the best agent behind each of the two that "
                "remember. Nobody needed memory to reach this return; a better one may need it.",
                "Helps, if one of the two that remember is certain to be ahead of the memoryless one.",
                "Undecided otherwise: the seeds differ too much. More seeds or steps decide.",
                f"Certain is what intervals of differences by Welch's t say, which hold together with {1 - RISK:.0%}.",
            ]
        ),
        Heading("Ambiguous steps"),
        Paragraph(
            "Of the greedy play of the recurrent agent, among steps whose observation occurs at least twice (the "
            "second number is their share of all steps): the share whose action is not the most common one for this "
            "observation. An agent that acts by what it sees has 0 %. Where actions are numbers, it is their variance "
            "for one observation, as a part of their whole variance. Observations are the same where all their bytes "
            "are; where less than half of the steps would repeat, numbers are rounded to a tenth of their standard "
            "deviation, and the memoryless agent's share says how much rounding alone makes. The share says how the "
            "agent acts, not that it pays: where an action has no effect, any will do."
        ),
        *pictures,
        *_how_made(found),
    ]


def _agent(name: str, settings: dict[str, object]) -> str:
    """An agent in words."""
    if name == MEMORYLESS:
        return f"{name} (a dense layer, sees the present observation)"
    seen = f"the last {NUM_FRAMES} observations" if name == FRAME_STACK else f"torso {settings['torso']}, sees all"
    return f"{name} ({seen}, with previous actions and rewards)"


def _curves(found: Audit) -> Picture:
    """Learning curves: a panel for each task."""
    figure, panels = make_panels(len(found.tasks))
    for each, panel in zip(found.tasks, panels, strict=True):
        runs = [(folder, name) for name in each.agents for folder in found.runs[each.task.label, name]]
        # Where no episode ended there is nothing to draw.
        runs = [(folder, name) for folder, name in runs if not np.isnan(read_metrics(folder)[METRIC]).all()]
        if runs:
            draw_runs([folder for folder, _ in runs], panel, METRIC, [name for _, name in runs])
        panel.set_title(each.task.label, fontsize="small", wrap=True)
    return Picture(
        "learning_curves", "Returns of training episodes, actions drawn from the policy.", svg(figure, "curves")
    )


def _how_made(found: Audit) -> list[Block]:
    named = [
        (folder, f"{name}, {each.task.label}")
        for each in found.tasks
        for name in each.agents
        for folder in found.runs[each.task.label, name]
    ]
    if not named:
        return []
    folders = [folder for folder, _ in named]
    tables = [read_metrics(folder) for folder in folders]
    runs = [Run(folder, read_facts(folder), table) for folder, table in zip(folders, tables, strict=True)]
    return how_runs_were_made(runs, group_runs(folders, tables, "step", [label for _, label in named]))
