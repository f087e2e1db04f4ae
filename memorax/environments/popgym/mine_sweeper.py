"""MineSweeper: view every square without a mine on a board that is never shown."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.drawing import BLACK, GRAY, PAPER, RED, SILVER, Canvas
from memorax.environments.environment import Environment, StepResult
from memorax.environments.spaces import Discrete, MultiDiscrete
from memorax.types import Array, Key

SQUARE = 30  # pixels of a square
MOST_NEIGHBORS = 9


@struct.dataclass
class MineSweeperState:
    """Where mines lie, which squares have been viewed, bool, `[board_size, board_size]` each, and the steps taken."""

    mines: Array
    viewed: Array
    time: Array


class MineSweeper(Environment):
    """The action is a row and a column to view; the observation is the number of mines on that square and around it.

    The square itself counts, and the first observation is 0. With `T = board_size ** 2 - num_mines` squares to view, a
    new one gives `1 / T`, one viewed before `-0.5 / (T - 2)`, and a mine `-0.5 - 1 / T`. The episode is terminated by a
    mine or when all `T` squares have been viewed, and truncated after `T` steps, so a single square viewed twice makes
    the whole board unreachable; returns lie in [-1, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7, whose three difficulties are boards of size 4, 6 and 8
    with 2, 6 and 10 mines.

    Args:
        board_size: number of rows and of columns.
        num_mines: number of squares with a mine.

    Raises:
        ValueError: if `board_size` or `num_mines` is not a positive integer, or fewer than three squares are free.
    """

    def __init__(self, board_size: int = 4, num_mines: int = 2) -> None:
        _check_board(board_size, num_mines)
        self.board_size = board_size
        self.num_mines = num_mines
        self.max_episode_length = board_size**2 - num_mines

    def reset(self, key: Key, params: None) -> tuple[Array, MineSweeperState]:
        return self.start(lay_mines(key, self.board_size, self.num_mines), params)

    def step_env(self, key: Key, env_state: MineSweeperState, action: Array, params: None) -> StepResult:
        rows, columns = jnp.arange(self.board_size)[:, None], jnp.arange(self.board_size)[None]
        square = (rows == action[0]) & (columns == action[1])
        around = (jnp.abs(rows - action[0]) <= 1) & (jnp.abs(columns - action[1]) <= 1)
        exploded = jnp.any(square & env_state.mines)
        again = jnp.any(square & env_state.viewed)
        state = MineSweeperState(
            mines=env_state.mines,
            viewed=env_state.viewed | (square & ~env_state.mines),
            time=env_state.time + 1,
        )
        success = 1 / self.max_episode_length
        wasted = jnp.where(again, jnp.float32(-0.5 / (self.max_episode_length - 2)), jnp.float32(success))
        reward = jnp.where(exploded, jnp.float32(-0.5 - success), wasted)
        terminated = exploded | jnp.all(state.viewed | state.mines)
        truncated = (state.time >= self.max_episode_length) & ~terminated
        observation = jnp.sum(around & env_state.mines, dtype=jnp.int32)
        return observation, state, reward, terminated, truncated, {}

    def start(self, mines: Array, params: None) -> tuple[Array, MineSweeperState]:
        """`reset`, given where mines lie, bool, `[board_size, board_size]`."""
        time = jnp.zeros((), jnp.int32)
        return jnp.zeros_like(time), MineSweeperState(mines=mines, viewed=jnp.zeros_like(mines), time=time)

    def observation_space(self, params: None) -> Discrete:
        return Discrete(min(self.num_mines, MOST_NEIGHBORS) + 1)

    def action_space(self, params: None) -> MultiDiscrete:
        return MultiDiscrete((self.board_size, self.board_size))

    def render(self, env_state: MineSweeperState, params: None) -> np.ndarray:
        """Viewed squares with their numbers, hidden ones in gray, mines as red discs."""
        mines, viewed = np.asarray(env_state.mines), np.asarray(env_state.viewed)
        canvas = Canvas(SQUARE * self.board_size, SQUARE * self.board_size, BLACK)
        for row in range(self.board_size):
            for column in range(self.board_size):
                left, top = SQUARE * column, SQUARE * row
                canvas.rectangle(left + 1, top + 1, SQUARE - 2, SQUARE - 2, PAPER if viewed[row, column] else GRAY)
                around = int(mines[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].sum())
                if mines[row, column]:
                    canvas.disc(left + SQUARE / 2, top + SQUARE / 2, SQUARE / 4, RED)
                elif viewed[row, column]:
                    color = BLACK if around else SILVER
                    canvas.number(around, left + SQUARE * 0.37, top + SQUARE * 0.25, SQUARE * 0.5, color)
        return canvas.pixels


def lay_mines(key: Key, board_size: int, num_mines: int) -> Array:
    """Mines on `num_mines` squares, each choice equally likely: bool, `[board_size, board_size]`."""
    ticket = jax.random.bits(key, (board_size**2,), jnp.uint32)
    # Comparing all with all is cheaper than a sort for boards this small; of equal tickets the first one wins.
    place = jnp.arange(board_size**2)
    ahead = (ticket[None] < ticket[:, None]) | ((ticket[None] == ticket[:, None]) & (place[None] < place[:, None]))
    return (jnp.sum(ahead, axis=1) < num_mines).reshape(board_size, board_size)


def _check_board(board_size: int, num_mines: int) -> None:
    for name, value in (("board_size", board_size), ("num_mines", num_mines)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} ({value!r}) must be a positive integer")
    if board_size**2 - num_mines < 3:
        raise ValueError(f"num_mines ({num_mines}) must leave three squares of board_size ** 2 ({board_size**2}) free")
