"""Episodes of the `popgym` package: what it drew, what was done, and what it returned.

A `Task` says what the package draws in an episode, how its best player acts, and which of our functions take the draws.
"""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import popgym.envs as packaged
from gymnasium.utils.seeding import np_random

from memorax.environments.popgym.maze import MOVES, WALL

LEVELS = ("Easy", "Medium", "Hard")


def make_reference(id: str) -> Any:
    """The package's environment of that name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Maze environments have been shown", DeprecationWarning)
        return getattr(packaged, id)()


@dataclass
class Episode:
    """What was drawn at the start and by each step, and what was returned; observations have one entry more."""

    start: tuple[np.ndarray, ...]
    draws: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def length(self) -> int:
        return len(self.actions)


@dataclass
class Task:
    """How one task of the package is recorded and played again.

    Attributes:
        start: what a reset drew, from the package's environment and the seed.
        draw: what the next step will draw, from the environment, the action and the seed's own generator.
        expert: the actions of the best player, who sees everything.
        best_return: what the best player reaches, from the environment right after its reset; None where that is luck.
        start_ours: observation and state of ours, from `(env, params, start)`.
        step_ours: a step of ours, from `(env, params, draw, state, action)`.
    """

    start: Callable[[Any], tuple[Any, ...]]
    draw: Callable[[Any, Any, np.random.Generator], Any]
    expert: Callable[[Any], Iterator[Any]]
    best_return: Callable[[Any], float | None]
    start_ours: Callable[..., tuple[Any, Any]]
    step_ours: Callable[..., Any]


def record(task: Task, env: Any, seed: int, play: str) -> tuple[Episode, float | None]:
    """One episode of the package, and the return of its best player."""
    observation, _ = env.reset(seed=seed)
    draws_rng, _ = np_random(seed)
    start, best = task.start(env), task.best_return(env)
    _skip_start(env, draws_rng)
    env.action_space.seed(seed)
    expert = task.expert(env)
    observations, draws, steps = [observation], [], []
    while True:
        action = next(expert) if play == "expert" else env.action_space.sample()
        draws.append(task.draw(env, action, draws_rng))
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        steps.append((action, reward, terminated, truncated))
        if terminated or truncated:
            columns = (np.asarray(column) for column in zip(*steps, strict=True))
            return Episode(start, np.asarray(draws), np.asarray(observations), *columns), best


def replay(task: Task, env: Any, params: Any, episodes: list[Episode]) -> tuple[np.ndarray, ...]:
    """Observations `[N, T + 1, ...]`, rewards, terminated and truncated `[N, T]` of ours, on the draws of `episodes`.

    Shorter episodes are filled up with their last step.
    """
    length = max(episode.length for episode in episodes)

    def stack(columns: list[np.ndarray]) -> jax.Array:
        filled = np.stack([np.concatenate([c, np.repeat(c[-1:], length - len(c), axis=0)]) for c in columns])
        return jnp.asarray(filled, jnp.float32 if filled.dtype == np.float64 else filled.dtype)

    def run(start: Any, draws: jax.Array, actions: jax.Array) -> tuple[jax.Array, ...]:
        first, state = task.start_ours(env, params, start)

        def step(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, tuple[jax.Array, ...]]:
            observation, state, reward, terminated, truncated, _ = task.step_ours(env, params, *inputs, state)
            return state, (observation, reward, terminated, truncated)

        _, (observations, *rest) = jax.lax.scan(step, state, (draws, actions))
        return jnp.concatenate([first[None], observations]), *rest

    start = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *[episode.start for episode in episodes])
    with jax.enable_x64(False):
        actions = stack([episode.actions.astype(np.int32) for episode in episodes])
        draws = stack([_narrow(episode.draws) for episode in episodes])
        return tuple(np.asarray(leaf) for leaf in jax.jit(jax.vmap(run))(start, draws, actions))


def _narrow(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int32) if np.issubdtype(values.dtype, np.integer) else values.astype(np.float32)


def _skip_start(env: Any, rng: np.random.Generator) -> None:
    """Take from `rng` what the reset of a bandit took from its own; no other task's steps draw in the package."""
    if isinstance(env, packaged.MultiarmedBandit):
        rng.random(env.num_bandits, dtype=np.float32)


def _draw_nothing(env: Any, action: Any, rng: np.random.Generator) -> int:
    return 0


def _one(env: Any) -> float:
    return 1.0


# Cards. The package deals from the end of the deck.


def _next_kind(deck: Any, kinds: np.ndarray) -> int:
    return int(kinds[deck.idx[deck.deck_len - 1]]) if deck.deck_len else 0


def _deal_first(env: Any, params: Any, start: Any) -> Any:
    return env.deal_first(start[0], params)


def _deal_next(env: Any, params: Any, draw: Any, action: Any, state: Any) -> Any:
    return env.deal_next(draw, state, action, params)


def _card_task(expert: Any, kinds: str = "suits_idx", best_return: Any = _one) -> Task:
    return Task(
        start=lambda env: (np.int32(getattr(env.deck, kinds)[env.deck.idx[-1]]),),
        draw=lambda env, action, rng: _next_kind(env.deck, getattr(env.deck, kinds)),
        expert=expert,
        best_return=best_return,
        start_ours=_deal_first,
        step_ours=_deal_next,
    )


def _name_first(env: Any) -> Iterator[int]:
    while True:
        yield int(env.deck.suits_idx[env.deck.idx[-1]])


def _name_previous(env: Any) -> Iterator[int]:
    suits, step = env.deck.suits_idx[env.deck.idx[::-1]], 0
    while True:
        step += 1
        yield int(suits[max(step - env.k, 0)])


def _recite(env: Any) -> Iterator[int]:
    while True:
        yield int(env.deck.suits_idx[env.deck["system"][-1]])


def _foresee(env: Any) -> Iterator[int]:
    while True:
        now, then = env.deck.ranks_idx[env.deck["player"][-1]], _next_kind(env.deck, env.deck.ranks_idx)
        yield int(then < now)


def _share_of_unequal_neighbors(env: Any) -> float:
    return float(np.mean(np.append(np.diff(env.deck.ranks_idx[env.deck.idx]) != 0, False)))


def _count(env: Any) -> Iterator[int]:
    while True:
        yield int(env.counts[env.query])


def _pair_up(env: Any) -> Iterator[int]:
    yield from np.argsort(env.deck_idx_type[env.deck.idx], kind="stable").tolist()


# Boards.


def _board_task(board: Callable[[Any], np.ndarray], targets: Callable[[Any], np.ndarray]) -> Task:
    return Task(
        start=lambda env: (board(env),),
        draw=_draw_nothing,
        expert=lambda env: iter(np.argwhere(targets(env))),
        best_return=_one,
        start_ours=lambda env, params, start: env.start(start[0], params),
        step_ours=lambda env, params, draw, action, state: env.step_env(None, state, action, params),
    )


# Mazes.


def _closed(grid: np.ndarray) -> np.ndarray:
    """The squares before the openings are marked."""
    return np.where(grid > WALL, WALL, grid).astype(np.int8)


def _tree(grid: np.ndarray, root: tuple[int, int]) -> dict[tuple[int, int], tuple[int, int]]:
    """For each square that can be reached from `root`, nearest first, the one before it on the way."""
    before, queue = {root: root}, deque([root])
    while queue:
        row, column = queue.popleft()
        for down, right in MOVES:
            square = (row + down, column + right)
            inside = 0 <= square[0] < grid.shape[0] and 0 <= square[1] < grid.shape[1]
            if inside and grid[square] != WALL and square not in before:
                before[square] = (row, column)
                queue.append(square)
    return before


def _way(before: dict[tuple[int, int], tuple[int, int]], goal: tuple[int, int]) -> list[tuple[int, int]]:
    """The squares from the root to `goal`, both included."""
    way = [goal]
    while before[way[-1]] != way[-1]:
        way.append(before[way[-1]])
    return way[::-1]


def _walk(squares: list[tuple[int, int]]) -> Iterator[int]:
    for (row, column), (next_row, next_column) in itertools.pairwise(squares):
        yield MOVES.index((next_row - row, next_column - column))


def _escape(env: Any) -> Iterator[int]:
    yield from _walk(_way(_tree(env.maze.grid, env.maze.start), env.maze.end))


def _escape_return(env: Any) -> float:
    steps = len(_way(_tree(env.maze.grid, env.maze.start), env.maze.end)) - 1
    return 1 - steps / env.max_episode_length


def _explore(env: Any) -> Iterator[int]:
    """Every branch there and back, the longest last."""
    before = _tree(env.maze.grid, env.maze.start)
    depth, children = dict.fromkeys(before, 0), {square: [] for square in before}
    for square in reversed(list(before)):
        parent = before[square]
        if square != parent:
            children[parent].append(square)
            depth[parent] = max(depth[parent], depth[square] + 1)
    tour = []

    def visit(square: tuple[int, int]) -> None:
        tour.append(square)
        for child in sorted(children[square], key=depth.__getitem__):
            visit(child)
            tour.append(square)

    visit(env.maze.start)
    yield from _walk(tour)


def _explore_return(env: Any) -> float:
    before = _tree(env.maze.grid, env.maze.start)
    farthest = max(len(_way(before, square)) for square in before) - 1
    # A tree is toured in two steps for each square but those on the way to where the tour ends.
    in_vain = len(before) - 1 - farthest
    return 1 - in_vain / env.max_episode_length


def _maze_task(expert: Any, best_return: Any, with_goal: bool) -> Task:
    def start(env: Any) -> tuple[np.ndarray, ...]:
        openings = (env.maze.start, env.maze.end)[: 2 if with_goal else 1]
        return (_closed(env.maze.grid), *(np.asarray(opening, np.int32) for opening in openings))

    return Task(
        start=start,
        draw=_draw_nothing,
        expert=expert,
        best_return=best_return,
        start_ours=lambda env, params, start: env.start(*start, params),
        step_ours=lambda env, params, draw, action, state: env.step_env(None, state, action, params),
    )


TASKS: dict[str, Task] = {
    "Autoencode": _card_task(_recite),
    "Battleship": _board_task(lambda env: env.board > 0, lambda env: env.board > 0),
    "Concentration": Task(
        start=lambda env: (),
        draw=lambda env, action, rng: int(env.deck_idx_type[env.deck.idx[action]]),
        expert=_pair_up,
        best_return=_one,
        start_ours=lambda env, params, start: env.start(params),
        step_ours=lambda env, params, draw, action, state: env.turn(draw, state, action, params),
    ),
    "CountRecall": Task(
        start=lambda env: (np.asarray([env.value, env.query], np.int32),),
        draw=lambda env, action, rng: [
            _next_kind(env.value_deck, env.deck_idx_type),
            _next_kind(env.query_deck, env.deck_idx_type),
        ],
        expert=_count,
        best_return=_one,
        start_ours=_deal_first,
        step_ours=_deal_next,
    ),
    "HigherLower": _card_task(_foresee, "ranks_idx", _share_of_unequal_neighbors),
    "LabyrinthEscape": _maze_task(_escape, _escape_return, with_goal=True),
    "LabyrinthExplore": _maze_task(_explore, _explore_return, with_goal=False),
    "MineSweeper": _board_task(lambda env: env.hidden_grid == 1, lambda env: env.hidden_grid == 0),
    "MultiarmedBandit": Task(
        start=lambda env: (env.bandits.copy(),),
        draw=lambda env, action, rng: rng.random(),
        expert=lambda env: iter(lambda: int(np.argmax(env.bandits)), None),
        best_return=lambda env: None,
        start_ours=lambda env, params, start: env.start(start[0], params),
        step_ours=lambda env, params, draw, action, state: env.pull(draw, state, action, params),
    ),
    "RepeatFirst": _card_task(_name_first),
    "RepeatPrevious": _card_task(_name_previous),
}
"""The tasks whose steps are exact in float32."""
