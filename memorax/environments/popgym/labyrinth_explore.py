"""LabyrinthExplore: visit every square of a maze."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import StepResult
from memorax.environments.popgym.maze import (
    NONE,
    WALL,
    Maze,
    MazeParams,
    MazeState,
    draw,
    grow_maze,
    initial_state,
    move,
    observe,
)
from memorax.types import Array, Key


class LabyrinthExplore(Maze):
    """The agent starts in an opening of the maze's outer wall and must visit every square that is no wall.

    Observations and moves are those of `LabyrinthEscape`, without a goal. A square visited for the first time gives 1
    over the number of squares to visit, any other step costs `1 / max_episode_length`, so returns lie in (-1, 1). An
    episode is terminated when every square has been visited and truncated after `max_episode_length - 1` steps.

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7 (`max_episode_length` is its `episode_length`), and the
    hunt-and-kill generator of `mazelib` 0.9.16, the distribution of whose mazes is kept (`maze.carve`). Where the last
    square is visited by the last step allowed the package sets both flags; here `terminated` is set alone.

    Args:
        maze_dims: rows and columns of the maze less one, both even: half as many rooms.
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `maze_dims` are not two positive even integers or `max_episode_length` is not an integer of at
            least 2.
    """

    def reset(self, key: Key, params: MazeParams) -> tuple[Array, MazeState]:
        grid, start, _ = grow_maze(key, self.num_rooms)
        return self.start(grid, start, params)

    def step_env(self, key: Key, env_state: MazeState, action: Array, params: MazeParams) -> StepResult:
        state = move(env_state, action)
        num_free = jnp.sum(state.grid != WALL)
        num_explored = jnp.sum(state.explored)
        discovered = num_explored > jnp.sum(env_state.explored)
        # The start is explored from the first and counts for nothing.
        reward = jnp.where(discovered, 1.0 / (num_free - 1), -1.0 / params.max_episode_length)
        terminated = num_explored == num_free
        truncated = (state.time >= params.max_episode_length - 1) & ~terminated
        return observe(state, action), state, reward.astype(jnp.float32), terminated, truncated, {}

    def start(self, grid: Array, start: Array, params: MazeParams) -> tuple[Array, MazeState]:
        """`reset`, given the squares `[2 h + 1, 2 w + 1]` and the start `[2]` that are drawn."""
        state = initial_state(grid, start)
        return observe(state, NONE), state

    def render(self, env_state: MazeState, params: MazeParams) -> np.ndarray:
        """The maze, the start in blue, where the agent has been in orange, and the agent in red."""
        return draw(env_state)
