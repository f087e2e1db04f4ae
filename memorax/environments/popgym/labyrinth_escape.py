"""LabyrinthEscape: find the way out of a maze."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import StepResult
from memorax.environments.popgym.maze import (
    GOAL,
    NONE,
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


class LabyrinthEscape(Maze):
    """The agent starts in an opening of the maze's outer wall and must find the one in the wall opposite.

    The observation is the three by three squares around the agent (0 free, 1 wall, 2 start, 3 goal) and the last
    action (0 left, 1 right, 2 up, 3 down, 4 at the start of an episode). At the upper and left edges of the maze the
    view is not centered: it begins with the agent's own row or column, and ends with walls. Every step costs
    `1 / max_episode_length` and the goal gives 1, so returns lie in (-1, 1). An episode is terminated at the goal and
    truncated after `max_episode_length - 1` steps.

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7 (`max_episode_length` is its `episode_length`), and the
    hunt-and-kill generator of `mazelib` 0.9.16, the distribution of whose mazes is kept (`maze.carve`). Where the goal
    is reached by the last step allowed the package sets both flags; here `terminated` is set alone.

    Args:
        maze_dims: rows and columns of the maze less one, both even: half as many rooms.
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `maze_dims` are not two positive even integers or `max_episode_length` is not an integer of at
            least 2.
    """

    def reset(self, key: Key, params: MazeParams) -> tuple[Array, MazeState]:
        return self.start(*grow_maze(key, self.num_rooms), params)

    def step_env(self, key: Key, env_state: MazeState, action: Array, params: MazeParams) -> StepResult:
        state = move(env_state, action)
        terminated = state.grid[state.position[0], state.position[1]] == GOAL
        truncated = (state.time >= params.max_episode_length - 1) & ~terminated
        reward = jnp.where(terminated, 1.0, 0.0) - 1.0 / params.max_episode_length
        return observe(state, action), state, reward.astype(jnp.float32), terminated, truncated, {}

    def start(self, grid: Array, start: Array, goal: Array, params: MazeParams) -> tuple[Array, MazeState]:
        """`reset`, given the squares `[2 h + 1, 2 w + 1]`, the start and the goal `[2]` that are drawn."""
        state = initial_state(grid.at[goal[0], goal[1]].set(GOAL), start)
        return observe(state, NONE), state

    def render(self, env_state: MazeState, params: MazeParams) -> np.ndarray:
        """The maze, the start in blue, the goal in green, where the agent has been in orange, and the agent in red."""
        return draw(env_state)
