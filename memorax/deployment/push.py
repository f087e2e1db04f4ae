"""Shares the policies of runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from memorax.deployment.export import export_run
from memorax.deployment.hub import upload
from memorax.deployment.manifest import read_manifest
from memorax.deployment.model_card import CARD_FILE, CURVE_FILE, model_card
from memorax.evaluation.plot import plot_runs
from memorax.evaluation.runs import has_metrics

if TYPE_CHECKING:
    from memorax.training.checkpoints import Step


def push_run(run: str | Path, target: str, seed: int | None = None, step: Step = "last", private: bool = False) -> str:
    """Export the policy of a run and share it, with a page that describes it.

    Args:
        run: the folder of the run.
        target: `hub:NAME` or `hub:OWNER/NAME`.
        seed: random seed of the agent; by default the first of the run.
        step: which checkpoint of the run; see `load_run`.
        private: whether others may not see it.

    Returns:
        Where it is now.

    Raises:
        ValueError: if there is no run, no checkpoint or no such seed, or the name is not valid.
        ImportError: if a package is missing, naming the command that installs it.
    """
    with tempfile.TemporaryDirectory() as directory:
        folder = export_run(run, Path(directory) / "policy", seed, step)
        curve = has_metrics(run)
        if curve:
            try:
                plot_runs([run], folder / CURVE_FILE)
            except ValueError:
                # As where no episode has ended: the page has no picture then.
                curve = False
        (folder / CARD_FILE).write_text(model_card(read_manifest(folder), target, curve))
        return upload(folder, target, private)
