"""Many runs at once: grids of settings, and the executors that train them."""

from memorax.laboratory.grid import Grid, Setting, read_grid
from memorax.laboratory.outcome import Outcome, read_outcome
from memorax.laboratory.scheduler import GridReport, run_grid

__all__ = ["Grid", "GridReport", "Outcome", "Setting", "read_grid", "read_outcome", "run_grid"]
