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
    logger.start(RunDescription("id", "mine", COLUMNS, step=0, total_steps=400_000, num_seeds=2))
    for step, evaluation in ((100_000, {"evaluation_return": 0.5}), (200_000, {})):
        values = {"step": step, "seconds": 1.0, **evaluation, "value_loss": 0.1, "entropy": 0.7}
        logger.log([{"seed": 0, "return": 1.0, **values}, {"seed": 1, "return": 3.0, **values}], 1000.0)
    logger.close("completed")
    return output.getvalue()


def test_plain_lines_where_the_output_is_no_terminal() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines == [
        "compiling",
        "mine: 400,000 steps, 2 seeds, mean ± standard deviation over them",
        "step 100,000/400,000  1,000 steps/s  10m00s left  return 2 ± 1  evaluation_return 0.5 ± 0  value_loss 0.1 ± 0",
        "step 200,000/400,000  1,000 steps/s  6m40s left  return 2 ± 1  evaluation_return 0.5 ± 0  value_loss 0.1 ± 0",
    ]


def test_a_dashboard_on_a_terminal() -> None:
    output = shown(terminal=True)
    assert "compiling" in output
    last = output[output.rindex("mine") :]
    for text in ("200,000 / 400,000 steps", "1,000 steps/s", "6m40s left", "evaluation return", "± 1", "entropy"):
        assert text in last


def test_closing_before_the_start_is_fine() -> None:
    logger = TerminalLogger(None, Console(file=io.StringIO(), force_terminal=True))
    logger.close("failed")
    logger.status("initialising")
    logger.close("failed")


def test_nan_and_means_over_some_of_the_seeds_show() -> None:
    output = io.StringIO()
    logger = TerminalLogger(None, Console(file=output))
    logger.start(RunDescription("id", "mine", COLUMNS, step=0, total_steps=40, num_seeds=2))
    for loss in (0.5, math.nan):
        rows = [{"seed": seed, "step": 10, "seconds": 1.0, "value_loss": loss} for seed in (0, 1)]
        logger.log([{**rows[0], "return": 1.0}, rows[1]], math.nan)
    lines = output.getvalue().splitlines()
    assert lines[1:] == [
        "step 10/40  return 1 (1 of 2 seeds)  value_loss 0.5 ± 0",
        "step 10/40  return 1 (1 of 2 seeds)  value_loss nan ± nan",
    ]
    logger.log([{"seed": 0, "step": 20, "value_loss": 1e200}, {"seed": 1, "step": 20, "value_loss": -1e200}], 1.0)
    assert "value_loss 0" in output.getvalue()
