"""MemoryChain: bits are shown once, and one of them is asked for at the end."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, MemoryOption, StepResult
from memorax.environments.memory import pictures
from memorax.environments.memory.answers import check_integer, graded
from memorax.environments.spaces import Box, Discrete
from memorax.types import Array, Key


@struct.dataclass
class MemoryChainParams:
    """Steps from the bits to the question."""

    memory_length: Array | int


class MemoryChainState(struct.PyTreeNode):
    """The bits `[num_bits]`, which of them will be asked for, and the steps taken."""

    bits: Array
    query: Array
    time: Array


class MemoryChain(Environment):
    """Bits are shown at the first step; `memory_length` steps later one of them is asked for.

    An observation is `(time left, query, *bits)`: the first falls from 1 to 0; the query, the index of a bit, is 0
    until it is asked; the bits are -1 or 1 at the first step and 0 later. The episode ends (terminated) with the
    answer, after `memory_length + 1` steps: 1 for the right bit, -1 for the wrong one, and no other step gives
    anything.

    * Best return: 1, by whoever remembers `num_bits` bits for `memory_length` steps.
    * Best return without memory: 0, a guess.

    Source: Osband et al., "Behaviour Suite for Reinforcement Learning", 2020, experiments "memory length" (one bit) and
    "memory size" (many bits).

    Args:
        memory_length: steps from the bits to the question.
        num_bits: number of bits shown at the start.

    Raises:
        ValueError: if either is not a positive integer.
    """

    best_return: ClassVar[float] = 1.0
    best_memoryless_return: ClassVar[float] = 0.0

    def __init__(self, memory_length: int = 10, num_bits: int = 1) -> None:
        self.memory_length = check_integer("memory_length", memory_length)
        self.num_bits = check_integer("num_bits", num_bits)

    @property
    def default_params(self) -> MemoryChainParams:
        return MemoryChainParams(memory_length=self.memory_length)

    def reset(self, key: Key, params: MemoryChainParams) -> tuple[Array, MemoryChainState]:
        bits_key, query_key = jax.random.split(key)
        state = MemoryChainState(
            bits=jax.random.bernoulli(bits_key, shape=(self.num_bits,)).astype(jnp.int32),
            query=jax.random.randint(query_key, (), 0, self.num_bits),
            time=jnp.zeros((), jnp.int32),
        )
        return _observe(state, params), state

    def step_env(self, key: Key, env_state: MemoryChainState, action: Array, params: MemoryChainParams) -> StepResult:
        asked = env_state.time == params.memory_length
        reward = jnp.where(asked, graded(action == env_state.bits[env_state.query], 2), 0.0)
        state = env_state.replace(time=env_state.time + 1)
        return _observe(state, params), state, reward, asked, jnp.zeros_like(asked), {}

    def observation_space(self, params: MemoryChainParams) -> Box:
        low = np.asarray([0.0, 0.0, *[-1.0] * self.num_bits], np.float32)
        high = np.asarray([1.0, self.num_bits - 1, *[1.0] * self.num_bits], np.float32)
        return Box(low, high, low.shape)

    def memory_option(self, params: MemoryChainParams) -> MemoryOption:
        return MemoryOption("memory_length", int(params.memory_length))

    def action_space(self, params: MemoryChainParams) -> Discrete:
        return Discrete(2)

    def render(self, env_state: MemoryChainState, params: MemoryChainParams) -> np.ndarray:
        """The bits, hidden but at the first step; where the answer is due, a question mark over the bit asked for."""
        time, length = int(env_state.time), int(params.memory_length)
        canvas = pictures.stage(time / length)
        size = min(60.0, 200 / self.num_bits)
        for i, bit in enumerate(np.asarray(env_state.bits)):
            x = pictures.WIDTH / 2 + (i - (self.num_bits - 1) / 2) * size
            pictures.tile(canvas, x, 70, 0.9 * size, int(bit) if time == 0 else None)
            pictures.number(canvas, x, 130, min(20.0, size / 2), int(bit))
            if time == length and i == int(env_state.query):
                pictures.question_mark(canvas, x, 70, size / 2)
        return canvas.pixels


def _observe(state: MemoryChainState, params: MemoryChainParams) -> Array:
    left = jnp.maximum(1.0 - state.time / params.memory_length, 0.0)
    query = jnp.where(state.time == params.memory_length, state.query, 0)
    bits = jnp.where(state.time == 0, 2 * state.bits - 1, 0)
    return jnp.concatenate([jnp.stack([left, query]), bits]).astype(jnp.float32)
