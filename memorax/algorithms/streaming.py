"""What algorithms share that learn from every step as it happens."""

from __future__ import annotations

from dataclasses import dataclass

from memorax.validation import require_fraction, require_one


@dataclass(frozen=True)
class StreamingConfig:
    """Hyperparameters of streaming algorithms.

    Attributes:
        num_envs: Environments, of which there must be one; agents are trained side by side as several seeds.
        num_steps: Steps between two updates, of which there must be one.
        gamma: Discount of returns.
        trace_lambda: Lambda of the eligibility traces: 0 credits the last step alone, 1 all steps since the trace was
            last cut, at the start of the episode or by an exploratory action.
    """

    num_envs: int = 1
    num_steps: int = 1
    gamma: float = 0.99
    trace_lambda: float = 0.8

    def __post_init__(self) -> None:
        require_one(self, "num_envs", "num_steps", why="a streaming algorithm learns from one step of one environment")
        require_fraction(self, "gamma", "trace_lambda")
