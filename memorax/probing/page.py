"""One self-contained HTML page that shows what the agents of runs remember, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memorax.evaluation.pages import Block, Heading, Items, Paragraph, Picture, Table, svg, webpage
from memorax.probing.carries import Survival
from memorax.probing.pictures import draw_probes
from memorax.probing.probe import EVALUATION_STEPS, RunProbe, probe_runs
from memorax.training.checkpoints import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_FILE = "probe.html"


def write_probes(
    folders: Sequence[str | Path],
    output: str | Path = PAGE_FILE,
    labels: Sequence[str] = (),
    seed: int | None = None,
    episodes: int = 32,
    step: Step = "last",
) -> Path:
    """Look into the memories of the agents of runs and write what is found as one HTML page.

    Args:
        folders: run folders.
        output: the file to write, which ends in `.html`; or a folder, for `probe.html` in it.
        labels: what each run is called; by default by what its settings differ in from others.
        seed: random seed of the agent in each run that gradients and readouts are of; by default the first.
        episodes: environments side by side, in which episodes are looked at, at least two.
        step: which checkpoint; see `load_run`.

    Returns:
        The path of the page.

    Raises:
        ValueError: if a folder holds no run or no checkpoint, or a run has no such seed.
    """
    path = Path(output)
    path = path if path.suffix == ".html" else path / PAGE_FILE
    probes = probe_runs(folders, labels, seed, episodes, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(webpage("Memorax probes", page_of(probes)), encoding="utf-8")
    return path


def page_of(probes: Sequence[RunProbe]) -> list[Block]:
    """The page: an overview, and a section for each probe."""
    pictures = draw_probes(probes)
    return [*_opening(probes), *(block for section in SECTIONS for block in section(probes, pictures))]


def _opening(probes: Sequence[RunProbe]) -> list[Block]:
    columns = (
        "run",
        "environment",
        "steps",
        "seed",
        "return",
        "carry wiped",
        "most influential lag",
        "farthest lag with 1 % of that",
        "half-life of the carry",
    )
    return [
        Heading("What the agents remember", 1),
        Paragraph(
            "The memories of trained agents, which act greedily here. Returns are of all seeds of a run, everything "
            "else of the one that the table names. A lag is a number of steps back within an episode: nothing is "
            "averaged across the start of one."
        ),
        Table(columns, [_row(probe) for probe in probes]),
        *_unfinished(probes),
    ]


def _row(probe: RunProbe) -> tuple[str, ...]:
    influence, memory = probe.agent.influence, probe.agent.memory
    reached = np.flatnonzero(np.nan_to_num(influence.relative) >= 0.01)
    return (
        probe.label,
        probe.environment,
        f"{probe.step:,}",
        str(probe.seed),
        f"{probe.returns.by_seed.mean():.3g}",
        "no carry" if probe.wiped is None else f"{probe.wiped.by_seed.mean():.3g}",
        str(int(np.nanargmax(influence.relative))),
        str(int(reached[-1])) if len(reached) else "none",
        "no carry" if memory is None else _half_life(memory.survival),
    )


def _half_life(survival: Survival) -> str:
    if not (survival.by_lag[1:] > 0).any():
        return "no gradient"
    return "longer than episodes" if math.isinf(survival.half_life) else f"{survival.half_life:.1f} steps"


def _unfinished(probes: Sequence[RunProbe]) -> list[Block]:
    names = [probe.label for probe in probes if probe.returns.unfinished]
    if not names:
        return []
    text = f"Episodes of {', '.join(names)} last longer than {EVALUATION_STEPS} steps, and count with the return then."
    return [Paragraph(text)]


def _section(
    title: str,
    text: str,
    pictures: Sequence[tuple[str, str]],
    missing: Callable[[RunProbe], str | None] = lambda probe: None,
    note: Callable[[RunProbe], str | None] = lambda probe: None,
) -> Callable[[Sequence[RunProbe], Mapping[str, Figure]], list[Block]]:
    """A section of the page.

    Args:
        title: its heading.
        text: what is drawn, and how to read it.
        pictures: name and caption of each picture.
        missing: why a run has nothing in the pictures; None where it has.
        note: what else is to be known of a run; None for nothing.
    """

    def section(probes: Sequence[RunProbe], drawn: Mapping[str, Figure]) -> list[Block]:
        reasons: dict[str, list[str]] = {}
        for probe in probes:
            if (reason := missing(probe)) is not None:
                reasons.setdefault(reason, []).append(f"{probe.label} in {probe.environment}")
        notes = [known for probe in probes if (known := note(probe)) is not None]
        return [
            Heading(title),
            Paragraph(text),
            *(Picture(name, caption, svg(drawn[name], name)) for name, caption in pictures if name in drawn),
            *(Paragraph(f"{', '.join(names)}: {reason}") for reason, names in reasons.items()),
            *([Items(notes)] if notes else []),
        ]

    return section


def _without_carry(probe: RunProbe) -> str | None:
    return None if probe.agent.memory is not None else "no carry, nothing is remembered from step to step."


def _without_lengths(probe: RunProbe) -> str | None:
    return (
        None if probe.by_length is not None else "the environment has no option that sets how long must be remembered."
    )


def _without_earlier_carry(probe: RunProbe) -> str | None:
    if probe.drift is not None:
        return None
    return _without_carry(probe) or (
        "neither a replay buffer with its carries nor an earlier checkpoint, whose parameters could make some."
    )


def _source_of_carries(probe: RunProbe) -> str | None:
    return None if probe.drift is None else f"{probe.label} in {probe.environment}: carries from {probe.drift.source}."


SECTIONS = (
    _section(
        "How much each past input matters",
        "The norm of the gradient of what the agent acts by (the logits of a policy, the values of all actions) at "
        "step t by the input at step t - k, averaged over t and over episodes and divided by its maximum over k. The "
        "input is what the feature extractor makes of the observation, so that symbols and pictures compare. Where a "
        "line lies on the lower end, as good as nothing that far back matters.",
        (
            ("influence", "Influence of the input k steps before on the output, of its maximum, in powers of ten"),
            ("episode", "One episode: each row is an output and shows which inputs it depends on"),
        ),
    ),
    _section(
        "Return by how much must be remembered",
        "The trained agents in the same task where the memory must reach less far and farther than in training "
        "(dashed), without learning anew. A flat line generalises; a peak at the dashed line has learned the length "
        "along with the task, as it must where the task does not show what is asked for. A thick line is "
        "the mean over seeds, a thin one a seed.",
        (("lengths", "Mean return of greedy episodes by the option of the task that sets the length"),),
        _without_lengths,
    ),
    _section(
        "What a wiped carry costs",
        "The same agents with their carry set back to that of an episode's start before every step, while everything "
        "they see stays the same. The distance between the dots is what the memory is worth.",
        (("wiped", "Mean return of each seed as it is and with its carry wiped at every step"),),
        _without_carry,
    ),
    _section(
        "Norm of the carry",
        "The Euclidean norm of all numbers of the carry after each step of an episode, counters left out: the mean "
        "over episodes, with the standard deviation as a band. A norm that never settles says that in longer episodes "
        "the agent will meet carries it has not seen in training.",
        (("norms", "Norm of the carry after each step of an episode"),),
        _without_carry,
    ),
    _section(
        "How much of the carry survives",
        "How much a small random change of the carry at step t has left of itself in the carry at t + k: the root mean "
        "square of the singular values of the derivative, from backward passes with random signs, within episodes. It "
        "needs nothing to be known of the model; of a linear recurrence it is the root mean square of |lambda|^k. The "
        "second picture has the same for each number of the carry by itself, whether gates or decays let go of it: the "
        "steps in which it falls to 1/e if it goes on as in the first step, in ascending order. Numbers that do not "
        "fall are left out. A model under real-time recurrent learning passes no gradient through its carry and shows "
        "nothing here.",
        (
            ("survival", "Share of a change of the carry that is left k steps later, in powers of ten"),
            ("time_scales", "Time scale of each number of the carry, in ascending order"),
        ),
        _without_carry,
    ),
    _section(
        "What can be read from the carry",
        "Linear maps (ridge regression) from the carry after step t to the observation at t - k, fitted to half of the "
        "environments and tested on the other half. Chance (dashed) is naming the most frequent observation or, where "
        "observations are numbers, their mean. What lies at changing places, as in the ring of keys and values of "
        "attention, is remembered without being readable by one linear map.",
        (("readout_carry", "How well the observation k steps before is read from the carry"),),
        _without_carry,
    ),
    _section(
        "What can be read from the torso's output",
        "The same from the output of the torso, which is all that the head acts by: what the agent has in mind now. An "
        "agent that remembers more than it uses has a better carry than output.",
        (("readout_output", "How well the observation k steps before is read from the torso's output"),),
    ),
    _section(
        "Drift of stored carries",
        "Outputs from a carry that earlier parameters made, against outputs that the present ones make of the whole "
        "episode, by the steps taken since the stored carry (Kapturowski et al., 2019, section 3.1): the norm of the "
        "difference, divided by the largest output. What is left after some steps is what a burn-in of that length "
        "leaves.",
        (("drift", "Distance between outputs from stored carries and those of whole episodes"),),
        _without_earlier_carry,
        _source_of_carries,
    ),
)
"""The sections of the page, each given the probes and the pictures."""
