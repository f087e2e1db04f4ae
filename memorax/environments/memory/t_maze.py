"""TMaze: a sign says which way to turn at the end of a corridor."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.drawing import BLACK, BLUE, GREEN, ORANGE, SILVER, WHITE, Canvas
from memorax.environments.environment import Environment, MemoryOption, StepResult
from memorax.environments.memory.answers import check_integer
from memorax.environments.memory.pictures import HEIGHT, WIDTH
from memorax.environments.spaces import Discrete
from memorax.types import Array, Key

LEFT, RIGHT, UP, DOWN = range(4)
CORRIDOR, SIGN_UP, SIGN_DOWN, JUNCTION = range(4)


@struct.dataclass
class TMazeParams:
    """Steps from the start to the junction."""

    length: Array | int


class TMazeState(struct.PyTreeNode):
    """Where the agent stands (0 is the start), whether the goal lies up, and the steps taken."""

    position: Array
    goal_is_up: Array
    time: Array


class TMaze(Environment):
    """Walk a corridor of `length` steps to a junction and turn to the side that a sign shows at its other end.

    The sign can be read at the start, or, in an `active` maze, one step behind it, where it must be looked for. An
    observation is 0 in the corridor, 1 or 2 at the sign (the goal lies up or down) and 3 at the junction. Actions are
    left, right, up and down; who walks against a wall stays. A turn at the junction ends the episode (terminated) and
    gives 1 at the goal, else 0. There is just enough time: as part of the task the episode ends (terminated) after the
    steps of the fastest way, `length + 1`, or `length + 3` in an active maze. Every step after which the agent is
    farther back than on the fastest way costs `1 / length`, or `1 / (length + 1)` in an active maze.

    * Best return: 1, by whoever remembers the sign for `length` steps (`length + 1` in an active maze).
    * Best return without memory: 0.5, by walking right and guessing.

    Source: Bakker, "Reinforcement Learning with Long Short-Term Memory", 2001; rewards and the two variants, passive
    and active, after Ni et al., "When Do Transformers Shine in RL? Decoupling Memory from Credit Assignment", 2023.

    Args:
        length: steps from the start to the junction.
        active: whether the sign must be looked for.

    Raises:
        ValueError: if `length` is not a positive integer, or `active` is not True or False.
    """

    best_return: ClassVar[float] = 1.0
    best_memoryless_return: ClassVar[float] = 0.5

    def __init__(self, length: int = 10, active: bool = False) -> None:
        if not isinstance(active, bool):
            raise ValueError(f"active ({active!r}) must be True or False")
        self.length = check_integer("length", length)
        self.active = active

    @property
    def default_params(self) -> TMazeParams:
        return TMazeParams(length=self.length)

    @property
    def sign(self) -> int:
        """Where the sign stands."""
        return -1 if self.active else 0

    def reset(self, key: Key, params: TMazeParams) -> tuple[Array, TMazeState]:
        zero = jnp.zeros((), jnp.int32)
        state = TMazeState(position=zero, goal_is_up=jax.random.bernoulli(key), time=zero)
        return self._observe(state, params), state

    def step_env(self, key: Key, env_state: TMazeState, action: Array, params: TMazeParams) -> StepResult:
        walked = jnp.where(action == RIGHT, 1, jnp.where(action == LEFT, -1, 0))
        state = env_state.replace(
            position=jnp.clip(env_state.position + walked, self.sign, params.length).astype(jnp.int32),
            time=env_state.time + 1,
        )
        turned = (env_state.position == params.length) & ((action == UP) | (action == DOWN))
        found = turned & ((action == UP) == env_state.goal_is_up)
        way_to_the_sign = -2 * self.sign  # there and back
        fastest = params.length + 1 + way_to_the_sign
        behind = ~turned & (state.position < jnp.minimum(state.time - way_to_the_sign, params.length))
        cost = jnp.where(behind & (state.time < fastest), 1.0 / (params.length - self.sign), 0.0)
        reward = found.astype(jnp.float32) - cost
        terminated = turned | (state.time >= fastest)
        return self._observe(state, params), state, reward, terminated, jnp.zeros_like(terminated), {}

    def observation_space(self, params: TMazeParams) -> Discrete:
        return Discrete(4)

    def memory_option(self, params: TMazeParams) -> MemoryOption:
        return MemoryOption("length", int(params.length))

    def action_space(self, params: TMazeParams) -> Discrete:
        return Discrete(4)

    def render(self, env_state: TMazeState, params: TMazeParams) -> np.ndarray:
        """The maze from above: the sign in orange, the agent in blue, the goal in green."""
        length, up = int(params.length), bool(env_state.goal_is_up)
        canvas = Canvas(HEIGHT, WIDTH)
        cell = min(30.0, (WIDTH - 20) / (length + 1 - self.sign))
        arm = max(cell, 10.0)

        def x(position: int) -> float:
            return WIDTH - 10 - arm / 2 - (length - position) * cell

        middle, left = HEIGHT / 2, x(self.sign) - cell / 2
        canvas.rectangle(left - 2, middle - arm / 2 - 2, x(length) + arm / 2 - left + 4, arm + 4, BLACK)
        canvas.rectangle(x(length) - arm / 2 - 2, middle - 1.5 * arm - 2, arm + 4, 3 * arm + 4, BLACK)
        canvas.rectangle(left, middle - arm / 2, x(length) + arm / 2 - left, arm, WHITE)
        for side in (-1, 0, 1):
            color = WHITE if side == 0 else GREEN if (side < 0) == up else SILVER
            canvas.rectangle(x(length) - arm / 2, middle + side * arm - arm / 2, arm, arm, color)
        pointing = -1 if up else 1
        sign_x, half = x(self.sign), max(cell, 8.0) / 2
        canvas.polygon(
            [
                (sign_x - half, middle - pointing * half),
                (sign_x + half, middle - pointing * half),
                (sign_x, middle + pointing * half),
            ],
            ORANGE,
        )
        canvas.disc(x(int(env_state.position)), middle, max(cell / 4, 4.0), BLUE)
        return canvas.pixels

    def _observe(self, state: TMazeState, params: TMazeParams) -> Array:
        sign = jnp.where(state.goal_is_up, SIGN_UP, SIGN_DOWN)
        at_sign, at_junction = state.position == self.sign, state.position == params.length
        return jnp.select([at_sign, at_junction], [sign, JUNCTION], CORRIDOR).astype(jnp.int32)
