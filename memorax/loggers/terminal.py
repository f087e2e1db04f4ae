"""Progress on the terminal: a dashboard, or plain lines where the output is no terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from memorax.loggers.logger import Logger, Outcome, Row, RunDescription

PLACE = ("seed", "step", "seconds")
OUTCOMES = ("return", "loss")
"""How the names of metrics end that a plain line has room for."""
BRIEF = ("training", "evaluating", "saving")
"""What is not worth a plain line."""


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation over those of the seeds that have a value, and how many those are."""

    mean: float
    spread: float
    seeds: int

    def over_seeds(self, num_seeds: int) -> str:
        """The deviation of several seeds, and how many they are where some have no value."""
        deviation = f" ± {self.spread:.3g}" if self.seeds > 1 else ""
        return deviation if self.seeds == num_seeds else f"{deviation} ({self.seeds} of {num_seeds} seeds)"


class TerminalLogger(Logger):
    """Shows the progress, steps per second, the time left, and each metric as its mean over seeds."""

    def __init__(self, folder: str | Path | None = None, console: Console | None = None) -> None:
        super().__init__(folder)
        self._console = console or Console()
        self._live: Live | None = None
        self._run: RunDescription | None = None
        self._status = ""
        self._step = 0
        self._steps_per_second = math.nan
        self._metrics: dict[str, Summary] = {}

    def start(self, run: RunDescription) -> None:
        """Open the dashboard."""
        self._run = run
        self._step = run.step
        if not self._console.is_terminal:
            on = f" on {run.devices}" if run.devices else ""
            self._print(f"{run.name}: {run.total_steps:,} steps{on}, {_seeds(run.num_seeds)}")

    def log(self, rows: Sequence[Row], steps_per_second: float) -> None:
        """Show the rows; a metric that is in none of them keeps the last value it had."""
        self._step = int(rows[0]["step"])
        self._steps_per_second = steps_per_second
        columns = self._run.columns if self._run is not None else ()
        for name in columns:
            values = [float(row[name]) for row in rows if name in row]
            if name not in PLACE and values:
                mean = sum(values) / len(values)
                spread = math.sqrt(sum((value - mean) * (value - mean) for value in values) / len(values))
                self._metrics[name] = Summary(mean, spread, len(values))
        if self._run is not None and not self._console.is_terminal:
            self._print(self._plain_line(self._run))

    def status(self, text: str) -> None:
        """Show what the loop is doing."""
        self._status = text
        if not self._console.is_terminal:
            if text not in BRIEF:
                self._print(text)
            return
        if self._live is None:
            self._live = Live(console=self._console, get_renderable=self._dashboard, refresh_per_second=4)
            self._live.start()
        if text not in BRIEF:
            # What follows may hold up the thread that draws.
            self._live.refresh()

    def close(self, outcome: Outcome) -> None:
        """Leave the last picture standing."""
        if self._live is not None:
            self._status = ""
            self._live.stop()
            self._live = None

    def _print(self, text: str) -> None:
        print(text, file=self._console.file, flush=True)

    def _plain_line(self, run: RunDescription) -> str:
        parts = [
            f"step {self._step:,}/{run.total_steps:,}",
            *self._speed(run),
            *(
                f"{name} {summary.mean:.4g}{summary.over_seeds(run.num_seeds)}"
                for name, summary in self._metrics.items()
                if name.endswith(OUTCOMES)
            ),
        ]
        return "  ".join(parts)

    def _dashboard(self) -> Group:
        status = Spinner("dots", self._status) if self._status else Text("")
        if self._run is None:
            return Group(status)
        run = self._run
        progress = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=run.total_steps, completed=self._step, width=40)
        progress.add_row(bar, f"{self._step:,} / {run.total_steps:,} steps", *self._speed(run))
        metrics = Table.grid(padding=(0, 2))
        for name, summary in self._metrics.items():
            label = Text(name.replace("_", " "), style="cyan")
            over_seeds = Text(summary.over_seeds(run.num_seeds).strip(), style="dim")
            metrics.add_row(label, f"{summary.mean:.4g}", over_seeds)
        title = Text(f"{run.name}  ({_seeds(run.num_seeds)})", style="bold")
        return Group(title, progress, metrics, status)

    def _speed(self, run: RunDescription) -> tuple[str, ...]:
        """Steps per second and the time left, where they are known."""
        if math.isnan(self._steps_per_second):
            return ()
        left = _duration((run.total_steps - self._step) * run.num_seeds / self._steps_per_second)
        return f"{self._steps_per_second:,.0f} steps/s", f"{left} left"


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds, mean ± standard deviation over them"


def _duration(seconds: float) -> str:
    """`3h05m`, `5m20s` or `20s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"
