"""DelayedMatchToSample: say whether a symbol is the one that was shown some steps ago."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, MemoryOption, StepResult
from memorax.environments.memory import pictures
from memorax.environments.memory.answers import check_integer, graded
from memorax.environments.spaces import Discrete
from memorax.types import Array, Key

NOTHING = 0


@struct.dataclass
class DelayedMatchToSampleParams:
    """Steps at which nothing is seen between the sample and the test."""

    delay: Array | int


class DelayedMatchToSampleState(struct.PyTreeNode):
    """The sample, the test, and the steps taken."""

    sample: Array
    test: Array
    time: Array


class DelayedMatchToSample(Environment):
    """A sample is shown, then nothing for `delay` steps, then a test: the action says whether they are the same.

    An observation is 0 for nothing and `i + 1` for symbol `i`. The test equals the sample in half of the episodes and
    is any other symbol in the others. The episode ends (terminated) with the answer to the test (1: the same, 0:
    different), after `delay + 2` steps: 1 if right, -1 if wrong, and no other step gives anything.

    * Best return: 1, by whoever remembers the sample for `delay + 1` steps.
    * Best return without memory: 0. Each symbol is as often a match as not.

    Source: the task of primate studies of working memory, Fuster and Alexander, "Neuron activity related to short-term
    memory", 1971, in its match or non-match form.

    Args:
        delay: steps at which nothing is seen.
        num_symbols: number of symbols.

    Raises:
        ValueError: if `delay` is no integer from 0 up, or `num_symbols` is less than 2.
    """

    best_return: ClassVar[float] = 1.0
    best_memoryless_return: ClassVar[float] = 0.0

    def __init__(self, delay: int = 10, num_symbols: int = 8) -> None:
        self.delay = check_integer("delay", delay, least=0)
        self.num_symbols = check_integer("num_symbols", num_symbols, least=2)

    @property
    def default_params(self) -> DelayedMatchToSampleParams:
        return DelayedMatchToSampleParams(delay=self.delay)

    def reset(self, key: Key, params: DelayedMatchToSampleParams) -> tuple[Array, DelayedMatchToSampleState]:
        sample_key, match_key, other_key = jax.random.split(key, 3)
        sample = jax.random.randint(sample_key, (), 0, self.num_symbols)
        other = (sample + jax.random.randint(other_key, (), 1, self.num_symbols)) % self.num_symbols
        test = jnp.where(jax.random.bernoulli(match_key), sample, other)
        state = DelayedMatchToSampleState(sample=sample, test=test, time=jnp.zeros((), jnp.int32))
        return _observe(state, params), state

    def step_env(
        self, key: Key, env_state: DelayedMatchToSampleState, action: Array, params: DelayedMatchToSampleParams
    ) -> StepResult:
        asked = env_state.time == params.delay + 1
        matches = env_state.test == env_state.sample
        reward = jnp.where(asked, graded(action == matches, 2), 0.0)
        state = env_state.replace(time=env_state.time + 1)
        return _observe(state, params), state, reward, asked, jnp.zeros_like(asked), {}

    def observation_space(self, params: DelayedMatchToSampleParams) -> Discrete:
        return Discrete(self.num_symbols + 1)

    def memory_option(self, params: DelayedMatchToSampleParams) -> MemoryOption:
        return MemoryOption("delay", int(params.delay))

    def action_space(self, params: DelayedMatchToSampleParams) -> Discrete:
        return Discrete(2)

    def render(self, env_state: DelayedMatchToSampleState, params: DelayedMatchToSampleParams) -> np.ndarray:
        """What is shown, large, the test under a question mark; the sample small beside it."""
        time, asked = int(env_state.time), int(params.delay) + 1
        canvas = pictures.stage(time / asked)
        shown = int(env_state.sample) if time == 0 else int(env_state.test) if time == asked else None
        pictures.tile(canvas, 90, 90, 90, shown)
        if time == asked:
            pictures.question_mark(canvas, 90, 28, 26)
        pictures.tile(canvas, 200, 90, 40, int(env_state.sample))
        return canvas.pixels


def _observe(state: DelayedMatchToSampleState, params: DelayedMatchToSampleParams) -> Array:
    first, last = state.time == 0, state.time == params.delay + 1
    return jnp.select([first, last], [state.sample + 1, state.test + 1], NOTHING).astype(jnp.int32)
