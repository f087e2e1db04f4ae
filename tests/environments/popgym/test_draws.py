"""What is drawn is drawn as often as the package draws it."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mazelib import Maze
from mazelib.generate.HuntAndKill import HuntAndKill

from memorax.environments.popgym import make
from memorax.environments.popgym.battleship import place_ships
from memorax.environments.popgym.choice import choose
from memorax.environments.popgym.count_recall import draw_two
from memorax.environments.popgym.deck import draw_card, full_deck, remove_card
from memorax.environments.popgym.maze import WALL, draw_openings, grow_maze
from memorax.environments.popgym.mine_sweeper import lay_mines

NUM_DRAWS = 100_000


def draw(function: Callable[[jax.Array], Any], num_draws: int = NUM_DRAWS) -> Any:
    """`num_draws` results of `function`, each of a key of its own."""
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(0), num_draws)))


def count(boards: Iterable[np.ndarray]) -> Counter[bytes]:
    return Counter(np.asarray(board, bool).tobytes() for board in boards)


def assert_frequencies(counts: Counter[Any], expected: dict[Any, float], num_draws: int = NUM_DRAWS) -> None:
    """Nothing comes that is not expected, and all the rest as often: five standard deviations of a proportion."""
    assert set(counts) <= set(expected)
    for outcome, probability in expected.items():
        deviation = np.sqrt(probability * (1 - probability) / num_draws)
        assert counts[outcome] / num_draws == pytest.approx(probability, abs=5 * deviation)


def test_cards_are_drawn_as_often_as_they_are_left() -> None:
    suits = draw(lambda key: draw_card(key, jnp.asarray([6, 0, 3, 1])))
    assert_frequencies(Counter(suits.tolist()), {0: 0.6, 2: 0.3, 3: 0.1})


def test_consecutive_cards_are_drawn_without_replacement() -> None:
    def pair(key: jax.Array) -> jax.Array:
        first_key, second_key = jax.random.split(key)
        first = draw_card(first_key, full_deck(1))
        return first == draw_card(second_key, remove_card(full_deck(1), first))

    assert_frequencies(Counter(draw(pair).tolist()), {True: 12 / 51, False: 39 / 51})


def test_two_decks_are_drawn_from_apart() -> None:
    pairs = draw(lambda key: draw_two(key, jnp.asarray([1, 3]), jnp.asarray([1, 1])))
    expected = {(0, 0): 1 / 8, (0, 1): 1 / 8, (1, 0): 3 / 8, (1, 1): 3 / 8}
    assert_frequencies(Counter(map(tuple, pairs.tolist())), expected)


@pytest.mark.parametrize("kinds", [2, 4, 13])
def test_a_deck_has_as_many_cards_of_each_kind(kinds: int) -> None:
    assert full_deck(3, kinds).tolist() == [156 // kinds] * kinds


def test_each_marked_place_is_chosen_alike() -> None:
    candidates = jnp.asarray([[0, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]], bool)
    chosen = np.stack(draw(lambda key: choose(jax.random.bits(key, (), jnp.uint32), candidates)), axis=-1)
    assert_frequencies(Counter(map(tuple, chosen.tolist())), dict.fromkeys([(1, 0), (1, 2), (3, 1)], 1 / 3))


def test_where_nothing_is_marked_the_last_place_is_chosen() -> None:
    row, column = jax.jit(choose)(jnp.uint32(5), jnp.zeros((2, 3), bool))
    assert (int(row), int(column)) == (1, 2)


def places(board_size: int, ship_size: int) -> list[np.ndarray]:
    """Every way to place a ship on an empty board."""
    boards = []
    for row, column, down in itertools.product(range(board_size), range(board_size), (0, 1)):
        height, width = (ship_size, 1) if down else (1, ship_size)
        board = np.zeros((board_size, board_size), bool)
        board[row : row + height, column : column + width] = True
        if board.sum() == ship_size and (row + height <= board_size) and (column + width <= board_size):
            boards.append(board)
    return boards


@pytest.mark.parametrize("ship_sizes", [(2,), (3, 2), (2, 3)])
def test_ships_are_placed_one_after_the_other_where_there_is_room(ship_sizes: tuple[int, ...]) -> None:
    """Against the enumeration of what trying again until a ship fits comes to."""
    boards = {np.zeros((4, 4), bool).tobytes(): 1.0}
    for size in ship_sizes:
        grown: Counter[bytes] = Counter()
        for board, probability in boards.items():
            taken = np.frombuffer(board, bool).reshape(4, 4)
            fitting = [place for place in places(4, size) if not (place & taken).any()]
            for place in fitting:
                grown[(place | taken).tobytes()] += probability / len(fitting)
        boards = dict(grown)
    assert_frequencies(count(draw(lambda key: place_ships(key, 4, ship_sizes))), boards)


def test_boards_have_every_ship_and_mine() -> None:
    env, params = make("BattleshipHard")
    _, state = jax.jit(env.vectorize(500).reset)(jax.random.key(0), params)
    np.testing.assert_array_equal(np.asarray(state.ships).sum((1, 2)), 12)
    env, params = make("MineSweeperHard")
    _, state = jax.jit(env.vectorize(500).reset)(jax.random.key(0), params)
    np.testing.assert_array_equal(np.asarray(state.mines).sum((1, 2)), env.num_mines)


def test_every_choice_of_mines_is_as_likely() -> None:
    expected = {}
    for squares in itertools.combinations(range(9), 2):
        board = np.zeros(9, bool)
        board[list(squares)] = True
        expected[board.tobytes()] = 1 / 36
    assert_frequencies(count(draw(lambda key: lay_mines(key, 3, 2))), expected)


def test_openings_lie_in_opposite_walls() -> None:
    start, goal = draw(lambda key: draw_openings(key, (2, 3)))
    sides = [
        [((0, a), (4, b)) for a in (1, 3, 5) for b in (1, 3, 5)],
        [((a, 0), (b, 6)) for a in (1, 3) for b in (1, 3)],
    ]
    expected = {}
    for pairs in sides:
        for a, b in pairs:
            expected[a, b] = expected[b, a] = 1 / 4 / len(pairs)
    counts = Counter((tuple(a), tuple(b)) for a, b in zip(start.tolist(), goal.tolist(), strict=True))
    assert_frequencies(counts, expected)


def packaged_mazes(rooms: int, num_draws: int) -> np.ndarray:
    random.seed(0)
    np.random.seed(0)
    return np.stack([HuntAndKill(rooms, rooms).generate() for _ in range(num_draws)])


def test_mazes_come_as_often_as_from_the_package_generator() -> None:
    """Mazes of three by three rooms that a walk can leave behind, which are not all that are trees; some are rare."""
    reference = count(packaged_mazes(3, 10_000) != WALL)
    ours = count(draw(lambda key: grow_maze(key, (3, 3))[0]) != WALL)
    for maze in {*reference, *ours}:
        probability = (reference[maze] + ours[maze]) / (10_000 + NUM_DRAWS)
        deviation = np.sqrt(probability * (1 / 10_000 + 1 / NUM_DRAWS))
        assert reference[maze] / 10_000 == pytest.approx(ours[maze] / NUM_DRAWS, abs=5 * deviation)


def features(grid: np.ndarray) -> list[int]:
    """Rooms not visited, dead ends, crossings, and corridors that lie in a row: what tells kinds of mazes apart."""
    free = np.pad(grid != WALL, 1)
    sides = [np.roll(free, shift, axis) for axis in (0, 1) for shift in (1, -1)]
    ways = np.sum(sides, axis=0) * free
    straight = free & sides[2] & sides[3]
    return [(grid[1::2, 1::2] == WALL).sum(), (ways == 1).sum(), (ways >= 3).sum(), straight.sum()]


@pytest.mark.parametrize("rooms", [5, 9])
def test_larger_mazes_look_like_those_of_the_package_generator(rooms: int) -> None:
    reference = np.asarray([features(maze) for maze in packaged_mazes(rooms, 300)], float)
    ours = np.asarray([features(maze) for maze in draw(lambda key: grow_maze(key, (rooms, rooms))[0], 2000)], float)
    deviation = np.sqrt(reference.var(axis=0) / 300 + ours.var(axis=0) / 2000)
    assert (np.abs(reference.mean(axis=0) - ours.mean(axis=0)) <= 4 * deviation).all()
    np.testing.assert_allclose(reference.std(axis=0), ours.std(axis=0), rtol=0.25, atol=0.3)


def test_openings_of_the_package_lie_as_ours_do() -> None:
    random.seed(0)
    maze = Maze()
    maze.generator = HuntAndKill(3, 4)
    maze.generate()
    counts: Counter[Any] = Counter()
    for _ in range(5_000):
        maze.generate_entrances(start_outer=True)
        counts[maze.start, maze.end] += 1
    start, goal = draw(lambda key: draw_openings(key, (3, 4)))
    ours = Counter((tuple(a), tuple(b)) for a, b in zip(start.tolist(), goal.tolist(), strict=True))
    assert_frequencies(counts, {pair: number / NUM_DRAWS for pair, number in ours.items()}, 5_000)


def test_arms_pay_as_likely_as_drawn() -> None:
    env, params = make("MultiarmedBanditEasy")
    _, state = jax.jit(env.vectorize(20_000).reset)(jax.random.key(0), params)
    probabilities = np.asarray(state.probabilities)
    assert probabilities.min() >= 0 and probabilities.max() < 1
    np.testing.assert_allclose(np.quantile(probabilities, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.01)
    state = jax.tree.map(lambda leaf: leaf[0], state)
    paid = draw(lambda key: env.step_env(key, state, jnp.asarray(3), params)[0])
    probability = float(probabilities[0, 3])
    assert_frequencies(Counter(paid.tolist()), {1: probability, 0: 1 - probability})
