from __future__ import annotations

import io
import math

from rich.console import Console

from memorax.loggers import RunDescription, TerminalLogger

COLUMNS = ("seed", "step", "seconds", "return", "evaluation_return", "value_loss", "entropy")


def shown(terminal: bool) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100)
    logger = TerminalLogger(None, console)
    logger.status("compiling")
    logger.start(RunDescription("runs/mine", COLUMNS, step=0, total_steps=400_000, num_seeds=2))
    for step, evaluated in ((100_000, 0.5), (200_000, math.nan)):
        values = {"step": step, "seconds": 1.0, "evaluation_return": evaluated, "value_loss": 0.1, "entropy": 0.7}
        logger.log([{"seed": 0, "return": 1.0, **values}, {"seed": 1, "return": 3.0, **values}], 1000.0)
    logger.close()
    return output.getvalue()


def test_plain_lines_where_the_output_is_no_terminal() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines == [
        "compiling",
        "runs/mine: 400,000 steps, 2 seeds, mean ± standard deviation over them",
        "step 100,000/400,000  1,000 steps/s  10m00s left  return 2  evaluation_return 0.5  value_loss 0.1",
        "step 200,000/400,000  1,000 steps/s  6m40s left  return 2  evaluation_return 0.5  value_loss 0.1",
    ]


def test_a_dashboard_on_a_terminal() -> None:
    output = shown(terminal=True)
    assert "compiling" in output
    last = output[output.rindex("runs/mine") :]
    for text in ("200,000 / 400,000 steps", "1,000 steps/s", "6m40s left", "evaluation return", "± 1", "entropy"):
        assert text in last


def test_closing_before_the_start_is_fine() -> None:
    logger = TerminalLogger(None, Console(file=io.StringIO(), force_terminal=True))
    logger.close()
    logger.status("initialising")
    logger.close()
