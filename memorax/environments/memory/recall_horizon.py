"""RecallHorizon: name the first symbol of a stream, `horizon` steps after it was seen."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, MemoryOption, StepResult
from memorax.environments.memory import pictures
from memorax.environments.memory.answers import check_integer, graded
from memorax.environments.spaces import Discrete, MultiDiscrete
from memorax.types import Array, Key

WAIT, CUE, ASK = range(3)


@struct.dataclass
class RecallHorizonParams:
    """Steps from the cue to the question."""

    horizon: Array | int


class RecallHorizonState(struct.PyTreeNode):
    """The symbol to be named, the one that is shown, and the steps taken."""

    cue: Array
    symbol: Array
    time: Array


class RecallHorizon(Environment):
    """A symbol is shown and marked as the cue; `horizon` steps later it must be named.

    An observation is `(mark, symbol)`: the mark is 1 with the cue, 2 where the answer is due and 0 elsewhere, and all
    symbols but the cue are drawn at random and mean nothing. The episode ends (terminated) with the answer, after
    `horizon + 1` steps; it gives 1 if right and `-1 / (num_symbols - 1)` if wrong, and no other step gives anything.

    * Best return: 1, by whoever remembers one symbol for exactly `horizon` steps.
    * Best return without memory: 0. What is shown with the question does not depend on the cue, so that every answer
      is a guess; whoever remembers fewer than `horizon` steps does no better.

    Source: this library; the cue and the distractors are those of Hochreiter and Schmidhuber, "Long Short-Term Memory",
    1997, section 5.2, as a decision task.

    Args:
        horizon: steps from the cue to the question.
        num_symbols: number of symbols.

    Raises:
        ValueError: if `horizon` is not a positive integer, or `num_symbols` is less than 2.
    """

    best_return: ClassVar[float] = 1.0
    best_memoryless_return: ClassVar[float] = 0.0

    def __init__(self, horizon: int = 8, num_symbols: int = 4) -> None:
        self.horizon = check_integer("horizon", horizon)
        self.num_symbols = check_integer("num_symbols", num_symbols, least=2)

    @property
    def default_params(self) -> RecallHorizonParams:
        return RecallHorizonParams(horizon=self.horizon)

    def reset(self, key: Key, params: RecallHorizonParams) -> tuple[Array, RecallHorizonState]:
        cue = self._draw(key)
        state = RecallHorizonState(cue=cue, symbol=cue, time=jnp.zeros((), jnp.int32))
        return _observe(state, params), state

    def step_env(
        self, key: Key, env_state: RecallHorizonState, action: Array, params: RecallHorizonParams
    ) -> StepResult:
        asked = env_state.time == params.horizon
        reward = jnp.where(asked, graded(action == env_state.cue, self.num_symbols), 0.0)
        state = env_state.replace(symbol=self._draw(key), time=env_state.time + 1)
        return _observe(state, params), state, reward, asked, jnp.zeros_like(asked), {}

    def observation_space(self, params: RecallHorizonParams) -> MultiDiscrete:
        return MultiDiscrete((3, self.num_symbols))

    def memory_option(self, params: RecallHorizonParams) -> MemoryOption:
        return MemoryOption("horizon", int(params.horizon))

    def action_space(self, params: RecallHorizonParams) -> Discrete:
        return Discrete(self.num_symbols)

    def render(self, env_state: RecallHorizonState, params: RecallHorizonParams) -> np.ndarray:
        """The symbol that is shown, large, under a question mark where the answer is due; the cue small beside it."""
        time, horizon = int(env_state.time), int(params.horizon)
        canvas = pictures.stage(time / horizon)
        pictures.tile(canvas, 90, 90, 90 if time in (0, horizon) else 60, int(env_state.symbol))
        if time == horizon:
            pictures.question_mark(canvas, 90, 28, 26)
        pictures.tile(canvas, 200, 90, 40, int(env_state.cue))
        return canvas.pixels

    def _draw(self, key: Key) -> Array:
        return jax.random.randint(key, (), 0, self.num_symbols)


def _observe(state: RecallHorizonState, params: RecallHorizonParams) -> Array:
    mark = jnp.select([state.time == 0, state.time == params.horizon], [CUE, ASK], WAIT)
    return jnp.stack([mark, state.symbol]).astype(jnp.int32)
