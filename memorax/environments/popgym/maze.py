"""Mazes: how they are generated, walked through and observed.

A maze of `2 h + 1` by `2 w + 1` squares has `h` by `w` rooms at odd rows and columns; the squares between two rooms are
open where a passage joins them. It is grown by the hunt-and-kill algorithm: a random walk carves passages into rooms
that have not been visited until it is stuck, then a room is hunted at random from which to walk on.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.drawing import BLACK, BLUE, GREEN, ORANGE, PAPER, RED, Canvas
from memorax.environments.environment import Environment
from memorax.environments.popgym.choice import choose
from memorax.environments.popgym.time_limit import check_max_episode_length
from memorax.environments.spaces import Discrete, MultiDiscrete
from memorax.types import Array, Key

FREE, WALL, START, GOAL, HIDDEN = range(5)
LEFT, RIGHT, UP, DOWN, NONE = range(5)
MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))  # rows and columns, by action
SQUARE = 14  # pixels of a square

UNVISITED, FIRST = -2, -1


@struct.dataclass
class MazeParams:
    """The time limit, in steps; the last step allowed is the one before it."""

    max_episode_length: Array | int


@struct.dataclass
class MazeState:
    """An agent in a maze.

    Attributes:
        grid: kind of each square, int8, `[2 h + 1, 2 w + 1]`.
        explored: squares the agent has visited, bool, `[2 h + 1, 2 w + 1]`.
        position: row and column of the agent, `[2]`.
        time: steps taken in the episode.
    """

    grid: Array
    explored: Array
    position: Array
    time: Array


class Maze(Environment):
    """What the tasks in a maze have in common: their settings, what is seen and how one moves.

    Args:
        maze_dims: rows and columns of the maze less one, both even: half as many rooms.
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `maze_dims` are not two positive even integers or `max_episode_length` is not an integer of at
            least 2.
    """

    def __init__(self, maze_dims: tuple[int, int] = (10, 10), max_episode_length: int = 1024) -> None:
        check_max_episode_length(max_episode_length)
        if max_episode_length < 2:
            raise ValueError(f"max_episode_length ({max_episode_length}) must be at least 2: the last step is left out")
        sizes = tuple(maze_dims) if isinstance(maze_dims, tuple | list) else ()
        if len(sizes) != 2 or not all(isinstance(n, int | np.integer) and n > 0 and n % 2 == 0 for n in sizes):
            raise ValueError(f"maze_dims ({maze_dims!r}) must be two positive even integers")
        self.num_rooms = (sizes[0] // 2, sizes[1] // 2)
        self.max_episode_length = max_episode_length

    @property
    def default_params(self) -> MazeParams:
        return MazeParams(max_episode_length=self.max_episode_length)

    def observation_space(self, params: MazeParams) -> MultiDiscrete:
        return MultiDiscrete((HIDDEN + 1,) * 9 + (NONE + 1,))

    def action_space(self, params: MazeParams) -> Discrete:
        return Discrete(len(MOVES))


def initial_state(grid: Array, start: Array) -> MazeState:
    """The state of an agent that stands at `start` `[2]`, of which the grid is marked."""
    here = _at(grid.shape, start)
    return MazeState(
        grid=jnp.where(here, START, grid).astype(jnp.int8),
        explored=here,
        position=start,
        time=jnp.zeros((), jnp.int32),
    )


def move(state: MazeState, action: Array) -> MazeState:
    """The state after a step to the left (0), right (1), up (2) or down (3); a wall leaves the agent where it is."""
    target = jnp.clip(
        state.position + jnp.asarray(MOVES, jnp.int32)[action], 0, jnp.asarray(state.grid.shape, jnp.int32) - 1
    )
    blocked = state.grid[target[0], target[1]] == WALL
    position = jnp.where(blocked, state.position, target)
    return MazeState(
        grid=state.grid,
        explored=state.explored | _at(state.grid.shape, position),
        position=position,
        time=state.time + 1,
    )


def observe(state: MazeState, action: Array | int) -> Array:
    """The squares around the agent, row by row, and the action that led to it: int32, `[10]`.

    At the upper and the left edge of the maze the view starts with the agent's own row or column; what of the three by
    three squares lies beyond the last row or column seen is a wall.
    """
    first = jnp.maximum(state.position - 1, 0)
    padded = jnp.pad(state.grid, ((0, 1), (0, 1)), constant_values=WALL)
    view = jax.lax.dynamic_slice(padded, (first[0], first[1]), (3, 3))
    rows, columns = (first[axis] + jnp.arange(3) <= state.position[axis] + 1 for axis in (0, 1))
    view = jnp.where(rows[:, None] & columns[None], view, WALL)
    return jnp.append(view.reshape(9).astype(jnp.int32), jnp.asarray(action, jnp.int32))


def grow_maze(key: Key, num_rooms: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Draw a maze of `num_rooms` (rows, columns) rooms and two openings in opposite outer walls.

    Returns:
        `(grid, start, goal)`: int8 squares (free or wall, the openings closed), `[2 h + 1, 2 w + 1]`, and the row and
        column of the openings, `[2]` each.
    """
    carve_key, opening_key = jax.random.split(key)
    entered = carve(carve_key, num_rooms)
    start, goal = draw_openings(opening_key, num_rooms)
    return open_squares(entered), start, goal


def carve(key: Key, num_rooms: tuple[int, int]) -> Array:
    """Walk through the rooms until all have been visited.

    The package hunts for a room as often as the maze has squares, and walks on from those that were visited before and
    have a neighbor that was not. Here the hunts in between, which change nothing, are not carried out but counted: how
    many there are is geometric. Mazes, the few included where the hunts run out before all rooms are visited, have
    the package's distribution (up to the rounding of the random numbers).

    Returns:
        By which move each room was entered: 0 to 3 as in `MOVES`, -1 where the walk began, -2 for a room that was never
        visited. int32, `[h, w]`.
    """
    height, width = num_rooms
    max_hunts = (2 * height + 1) * (2 * width + 1)
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]

    def step(carry: tuple[Array, Array, Array], bits: Array) -> tuple[tuple[Array, Array, Array], None]:
        entered, here, hunts = carry
        fresh = _beside(entered == UNVISITED)
        useful = jnp.any(fresh, axis=0) & (entered != UNVISITED)
        stuck = ~useful[here[0], here[1]]
        num_useful = jnp.sum(useful, dtype=jnp.int32)
        here = jnp.where(stuck, jnp.stack(choose(bits[0], useful)), here)
        hunts = hunts + jnp.where(stuck, _tries(bits[1], num_useful / useful.size), 0)
        goes_on = (num_useful > 0) & (hunts <= max_hunts)
        _, turn = choose(bits[2], fresh[:, here[0], here[1]][None])
        there = here + jnp.asarray(MOVES, jnp.int32)[turn]
        entered = jnp.where(goes_on & (rows == there[0]) & (columns == there[1]), turn, entered)
        return (entered, jnp.where(goes_on, there, here), hunts), None

    bits = jax.random.bits(key, (height * width, 3), jnp.uint32)
    begin = jnp.stack(choose(bits[0, 0], jnp.ones(num_rooms, bool)))
    entered = jnp.where((rows == begin[0]) & (columns == begin[1]), FIRST, UNVISITED).astype(jnp.int32)
    (entered, _, _), _ = jax.lax.scan(step, (entered, begin, jnp.zeros((), jnp.int32)), bits[1:])
    return entered


def open_squares(entered: Array) -> Array:
    """The squares of a maze from how its rooms `[h, w]` were entered: int8, `[2 h + 1, 2 w + 1]`."""
    height, width = entered.shape
    grid = jnp.full((2 * height + 1, 2 * width + 1), WALL, jnp.int8)
    grid = grid.at[1::2, 1::2].set(jnp.where(entered == UNVISITED, WALL, FREE).astype(jnp.int8))
    across = (entered[:, 1:] == RIGHT) | (entered[:, :-1] == LEFT)
    down = (entered[1:] == DOWN) | (entered[:-1] == UP)
    grid = grid.at[1::2, 2:-1:2].set(jnp.where(across, FREE, WALL).astype(jnp.int8))
    return grid.at[2:-1:2, 1::2].set(jnp.where(down, FREE, WALL).astype(jnp.int8))


def draw_openings(key: Key, num_rooms: tuple[int, int]) -> tuple[Array, Array]:
    """Row and column `[2]` of a start in any of the four outer walls, and of a goal in the one opposite."""
    height, width = num_rooms
    side, begin, end = jax.random.bits(key, (3,), jnp.uint32)
    vertical = side % 4 < 2  # from the upper wall to the lower one, or back
    rooms = jnp.where(vertical, width, height).astype(jnp.uint32)
    along = 2 * jnp.stack([begin % rooms, end % rooms]).astype(jnp.int32) + 1
    far = jnp.where(vertical, 2 * height, 2 * width)
    across = jnp.where(side % 2 == 0, jnp.stack([0 * far, far]), jnp.stack([far, 0 * far]))
    openings = jnp.where(vertical, jnp.stack([across, along], axis=1), jnp.stack([along, across], axis=1))
    return openings[0], openings[1]


def draw(state: MazeState) -> np.ndarray:
    """A picture of the maze, of where the agent has been, and of the agent: uint8, `14` pixels a square."""
    grid, explored = np.asarray(state.grid), np.asarray(state.explored)
    canvas = Canvas(SQUARE * grid.shape[0], SQUARE * grid.shape[1], BLACK)
    colors = {FREE: PAPER, START: BLUE, GOAL: GREEN}
    for (row, column), square in np.ndenumerate(grid):
        if square != WALL:
            color = ORANGE if square == FREE and explored[row, column] else colors[int(square)]
            canvas.rectangle(SQUARE * column, SQUARE * row, SQUARE, SQUARE, color)
    row, column = np.asarray(state.position)
    canvas.disc(SQUARE * (column + 0.5), SQUARE * (row + 0.5), 0.4 * SQUARE, RED)
    return canvas.pixels


def _at(shape: tuple[int, ...], position: Array) -> Array:
    """Which square of a grid of `shape` is at `position` `[2]`: bool."""
    return (jnp.arange(shape[0]) == position[0])[:, None] & (jnp.arange(shape[1]) == position[1])[None]


def _beside(marked: Array) -> Array:
    """Whether the room each move leads to is `marked` (bool, `[h, w]`), by the room it starts from: `[4, h, w]`."""
    height, width = marked.shape
    padded = jnp.pad(marked, 1)
    return jnp.stack([padded[1 + down :, 1 + right :][:height, :width] for down, right in MOVES])


def _tries(bits: Array, probability: Array) -> Array:
    """How often one must try until something of `probability` succeeds: geometric, an int32 scalar."""
    uniform = (bits.astype(jnp.float32) + 0.5) / 2.0**32
    failures = jnp.log(uniform) / jnp.log1p(-jnp.minimum(probability, 1 - 1e-7))
    return 1 + jnp.floor(jnp.minimum(failures, 1e6)).astype(jnp.int32)
