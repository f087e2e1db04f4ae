"""Battleship: find and hit every ship on a board that is never shown."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.drawing import BLACK, BLUE, GRAY, RED, WHITE, Canvas
from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym.choice import choose
from memorax.environments.spaces import Dict, Discrete, MultiDiscrete, Space, action_mask_space
from memorax.types import Array, Key, PyTree

TILE = 20  # pixels of a tile


@struct.dataclass
class BattleshipState:
    """Where ships lie and where shots fell, bool, `[board_size, board_size]` each, and the steps taken."""

    ships: Array
    shots: Array
    time: Array


class Battleship(Environment):
    """The action is a row and a column to shoot at; the observation is 1 for a new hit and 0 for anything else.

    Where `H` is the number of tiles with ships and `T = board_size ** 2` the time limit, a hit gives `1 / H` and any
    other shot, one at a tile that was hit before included, `-1 / (T - H)`. The episode is terminated when every ship is
    sunk and truncated after `T` steps, so shooting at each tile once gives at least 0 and hits alone give 1.

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7. Where the last hit is the last shot allowed the package
    sets both flags; here `terminated` is set alone. The package places one ship after the other and tries again where
    it does not fit; here each is drawn from the places where it fits, which is the same distribution.

    Args:
        board_size: number of rows and of columns.
        ship_sizes: length of each ship in tiles.
        action_mask: another task, not POPGym's: the action is the number of a tile, row by row, and the observation a
            dictionary of `observation` and `action_mask`, which says at which tiles no shot has fallen.

    Raises:
        ValueError: if `board_size` is not a positive integer, or the ships are not such that they always find room.
    """

    def __init__(
        self, board_size: int = 10, ship_sizes: Sequence[int] = (2, 3, 3, 4), action_mask: bool = False
    ) -> None:
        _check_board(board_size, ship_sizes)
        if not isinstance(action_mask, bool):
            raise ValueError(f"action_mask ({action_mask!r}) must be True or False")
        self.action_mask = action_mask
        self.board_size = board_size
        self.ship_sizes = tuple(ship_sizes)
        self.needed_hits = sum(self.ship_sizes)
        self.max_episode_length = board_size**2

    def reset(self, key: Key, params: None) -> tuple[PyTree, BattleshipState]:
        return self.start(place_ships(key, self.board_size, self.ship_sizes), params)

    def step_env(self, key: Key, env_state: BattleshipState, action: Array, params: None) -> StepResult:
        row, column = jnp.divmod(action, self.board_size) if self.action_mask else (action[0], action[1])
        target = (jnp.arange(self.board_size) == row)[:, None] & (jnp.arange(self.board_size) == column)[None]
        hit = jnp.any(target & env_state.ships & ~env_state.shots)
        state = BattleshipState(ships=env_state.ships, shots=env_state.shots | target, time=env_state.time + 1)
        miss_reward = jnp.float32(-1 / (self.max_episode_length - self.needed_hits))
        reward = jnp.where(hit, jnp.float32(1 / self.needed_hits), miss_reward)
        terminated = ~jnp.any(state.ships & ~state.shots)
        truncated = (state.time >= self.max_episode_length) & ~terminated
        return self._observe(hit, state), state, reward, terminated, truncated, {}

    def start(self, ships: Array, params: None) -> tuple[PyTree, BattleshipState]:
        """`reset`, given where ships are placed, bool, `[board_size, board_size]`."""
        time, shots = jnp.zeros((), jnp.int32), jnp.zeros_like(ships)
        state = BattleshipState(ships=ships, shots=shots, time=time)
        return self._observe(jnp.zeros((), bool), state), state

    def _observe(self, hit: Array, state: BattleshipState) -> PyTree:
        hit = hit.astype(jnp.int32)
        return {"observation": hit, "action_mask": ~state.shots.ravel()} if self.action_mask else hit

    def observation_space(self, params: None) -> Space:
        if not self.action_mask:
            return Discrete(2)
        return Dict({"observation": Discrete(2), "action_mask": action_mask_space(self.action_space(params))})

    def action_space(self, params: None) -> Space:
        if self.action_mask:
            return Discrete(self.board_size**2)
        return MultiDiscrete((self.board_size, self.board_size))

    def render(self, env_state: BattleshipState, params: None) -> np.ndarray:
        """The sea in blue, ships in gray, misses as white discs and hits as red ones."""
        canvas = Canvas(TILE * self.board_size, TILE * self.board_size, BLACK)
        for row in range(self.board_size):
            for column in range(self.board_size):
                left, top = TILE * column, TILE * row
                ship, shot = env_state.ships[row, column], env_state.shots[row, column]
                canvas.rectangle(left + 1, top + 1, TILE - 2, TILE - 2, GRAY if ship else BLUE)
                if shot:
                    canvas.disc(left + TILE / 2, top + TILE / 2, TILE / 4, RED if ship else WHITE)
        return canvas.pixels


def place_ships(key: Key, board_size: int, ship_sizes: Sequence[int]) -> Array:
    """Place ships one after the other where there is room, each place equally likely.

    Returns:
        The tiles they take, bool, `[board_size, board_size]`.
    """
    bits = jax.random.bits(key, (len(ship_sizes),), jnp.uint32)
    ships = jnp.zeros((board_size, board_size), bool)
    for i, size in enumerate(ship_sizes):
        across, down = _room(ships, size), _room(ships.T, size).T
        row, column = choose(bits[i], jnp.concatenate([across, down]))
        ships = ships | _ship(row // board_size, row % board_size, column, size, board_size)
    return ships


def _room(ships: Array, size: int) -> Array:
    """Whether a ship of `size` that lies in a row fits, by the place of its first tile: bool, `[n, n]`."""
    taken = jnp.pad(ships, ((0, 0), (0, size - 1)), constant_values=True)
    return ~jnp.any(jnp.stack([taken[:, i : i + ships.shape[1]] for i in range(size)]), axis=0)


def _ship(down: Array, row: Array, column: Array, size: int, board_size: int) -> Array:
    """The tiles of a ship that starts at a row and column and lies in that row or, where `down`, in that column."""
    rows, columns = jnp.arange(board_size)[:, None], jnp.arange(board_size)[None]
    height, width = jnp.where(down > 0, size, 1), jnp.where(down > 0, 1, size)
    return ((rows >= row) & (rows < row + height)) & ((columns >= column) & (columns < column + width))


def _check_board(board_size: int, ship_sizes: Sequence[int]) -> None:
    if not isinstance(board_size, int | np.integer) or board_size < 1:
        raise ValueError(f"board_size ({board_size!r}) must be a positive integer")
    sizes = list(ship_sizes) if isinstance(ship_sizes, Sequence) else []
    if not sizes or not all(isinstance(size, int | np.integer) and 1 <= size <= board_size for size in sizes):
        raise ValueError(f"ship_sizes ({ship_sizes!r}) must be integers from 1 to board_size ({board_size})")
    # A row has `board_size // size` places side by side, and a tile that is taken spoils one of them at most.
    crowded = any(sum(sizes[:i]) >= board_size * (board_size // size) for i, size in enumerate(sizes))
    if crowded or sum(sizes) >= board_size**2:
        raise ValueError(f"ship_sizes ({ship_sizes!r}) take too much of a board of board_size ({board_size})")
