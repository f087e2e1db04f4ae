"""What holds for every task: its spaces, its settings, its pictures."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memorax
from memorax import testing
from memorax.environments.popgym import ids, make
from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space
from tests.environments.popgym.reference import LEVELS, make_reference

EASY = [id for id in ids() if id.endswith("Easy")]


def test_every_task_has_three_levels() -> None:
    assert len(ids()) == 48
    assert ids() == [f"{id.removesuffix('Easy')}{level}" for id in EASY for level in LEVELS]


@pytest.mark.slow
@pytest.mark.parametrize("id", ids())
def test_every_level_keeps_the_protocol(id: str) -> None:
    testing.check_environment(*memorax.make(f"popgym::{id}"), num_steps=1100)


def choices(space: Any) -> list[int]:
    """How many values each choice of a discrete space of the package has."""
    if isinstance(space, gymnasium.spaces.Tuple):
        return list(itertools.chain.from_iterable(choices(inner) for inner in space.spaces))
    return space.nvec.tolist() if isinstance(space, gymnasium.spaces.MultiDiscrete) else [int(space.n)]


def assert_same_space(ours: Space, reference: Any) -> None:
    if isinstance(ours, Box):
        assert ours.shape == reference.shape
        assert ours.dtype == reference.dtype
        np.testing.assert_array_equal(np.broadcast_to(ours.low, ours.shape), reference.low)
        np.testing.assert_array_equal(np.broadcast_to(ours.high, ours.shape), reference.high)
    elif isinstance(ours, Discrete):
        assert [ours.n] == choices(reference)
    else:
        assert isinstance(ours, MultiDiscrete)
        assert list(ours.nvec) == choices(reference)


@pytest.mark.parametrize("id", ids())
def test_spaces_are_those_of_the_package(id: str) -> None:
    env, params = make(id)
    reference = make_reference(id)
    assert_same_space(env.observation_space(params), reference.observation_space)
    assert_same_space(env.action_space(params), reference.action_space)


@pytest.mark.parametrize("id", ["RepeatFirstEasy", "RepeatPreviousEasy"])
def test_an_episode_deals_the_whole_deck(id: str) -> None:
    env, params = make(id, num_decks=2)
    batch = env.vectorize(5)

    def step(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        _, state, _, terminated, _, info = batch.step(key, state, jnp.zeros((5,), jnp.int32), params)
        return state, (info["final_observation"], terminated)

    def play(key: jax.Array) -> tuple[jax.Array, ...]:
        reset_key, step_key = jax.random.split(key)
        observation, state = batch.reset(reset_key, params)
        return observation, *jax.lax.scan(step, state, jax.random.split(step_key, 103))[1]

    observation, dealt, terminated = jax.jit(play)(jax.random.key(0))
    cards = np.concatenate([np.asarray(observation)[None], np.asarray(dealt)])
    np.testing.assert_array_equal(np.stack([(cards == suit).sum(0) for suit in range(4)]), 26)
    np.testing.assert_array_equal(terminated[:-1], False)
    np.testing.assert_array_equal(terminated[-1], True)


def test_every_card_turned_over_shows_a_whole_deck() -> None:
    env, params = make("ConcentrationHard")

    def step(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        key, place = inputs
        observation, state, *_ = env.step_env(key, state, place, params)
        return state, observation[place]

    def play(key: jax.Array) -> jax.Array:
        reset_key, step_key = jax.random.split(key)
        _, state = env.reset(reset_key, params)
        return jax.lax.scan(step, state, (jax.random.split(step_key, 52), jnp.arange(52)))[1]

    kinds = np.asarray(jax.jit(play)(jax.random.key(0)))
    np.testing.assert_array_equal(np.bincount(kinds, minlength=13), 4)


def test_a_view_is_cut_off_at_the_edges_of_a_maze() -> None:
    """At the upper and the left edge it begins with the agent's own row or column, which is then not in the middle."""
    env, params = make("LabyrinthEscapeEasy", maze_dims=(2, 2))
    grid = jnp.asarray([[1, 1, 1], [1, 0, 1], [1, 1, 1]], jnp.int8)
    openings = [jnp.asarray(place) for place in ((0, 1), (2, 1), (1, 0), (1, 2))]
    views = {
        (0, 1): [[1, 2, 1], [1, 0, 1], [1, 1, 1]],
        (2, 1): [[1, 0, 1], [1, 2, 1], [1, 1, 1]],
        (1, 0): [[1, 1, 1], [2, 0, 1], [1, 1, 1]],
        (1, 2): [[1, 1, 1], [0, 2, 1], [1, 1, 1]],
    }
    for start, goal in zip(openings, [openings[1], openings[0], openings[3], openings[2]], strict=True):
        observation, _ = env.start(grid, start, goal, params)
        assert observation[:9].reshape(3, 3).tolist() == views[tuple(start.tolist())]
        assert int(observation[9]) == 4


@pytest.mark.parametrize("id", EASY)
def test_every_task_can_be_drawn(id: str) -> None:
    """A picture at the start, another one after some steps, from arrays and from what has been copied to the host."""
    env, params = make(id)
    assert env.renders

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        action = env.action_space(params).sample(key)
        return env.step_env(key, state, action, params)[1], None

    _, first = jax.jit(env.reset)(jax.random.key(0), params)
    last, _ = jax.jit(lambda state: jax.lax.scan(step, state, jax.random.split(jax.random.key(1), 20)))(first)
    pictures = [env.render(state, params) for state in (first, last, jax.device_get(last))]
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert picture.ndim == 3 and picture.shape[2] == 3 and picture.shape == pictures[0].shape
    assert not np.array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[1], pictures[2])


def test_the_name_popjym_is_served_too() -> None:
    env, params = memorax.make("popjym::AutoencodeHard")
    assert (env.name, params) == ("Autoencode", memorax.make("popgym::AutoencodeHard")[1])
    with pytest.raises(ValueError, match="unknown environment 'popjym::AutoencodeHart': did you mean 'popgym::Auto"):
        memorax.make("popjym::AutoencodeHart")


@pytest.mark.parametrize(
    ("id", "settings", "message"),
    [
        ("RepeatFirstEasy", {"num_decks": 0}, r"num_decks \(0\) must be a positive integer"),
        ("RepeatFirstEasy", {"num_decks": "two"}, r"num_decks \('two'\) must be a positive integer"),
        ("RepeatPreviousEasy", {"num_decks": -1}, r"num_decks \(-1\) must be a positive integer"),
        ("RepeatPreviousEasy", {"k": 52}, r"k \(52\) must be an integer from 1 to 52 \* num_decks - 1 \(51\)"),
        ("RepeatPreviousEasy", {"k": 0}, r"k \(0\) must be"),
        ("AutoencodeEasy", {"num_decks": 0}, r"num_decks \(0\) must be a positive integer"),
        ("HigherLowerEasy", {"num_decks": 1.5}, r"num_decks \(1.5\) must be a positive integer"),
        ("CountRecallEasy", {"num_decks": 0}, r"num_decks \(0\) must be a positive integer"),
        ("CountRecallEasy", {"deck_type": "color"}, r"deck_type \('color'\) must be one of 'colors', 'suits', 'ranks'"),
        ("ConcentrationEasy", {"num_decks": 0}, r"num_decks \(0\) must be a positive integer"),
        ("ConcentrationEasy", {"deck_type": "suits"}, r"deck_type \('suits'\) must be one of 'colors', 'ranks'"),
        ("BattleshipEasy", {"board_size": 0}, r"board_size \(0\) must be a positive integer"),
        ("BattleshipEasy", {"ship_sizes": (9,)}, r"ship_sizes \(\(9,\)\) must be integers from 1 to board_size \(8\)"),
        ("BattleshipEasy", {"ship_sizes": 3}, r"ship_sizes \(3\) must be integers from 1 to board_size \(8\)"),
        ("BattleshipEasy", {"ship_sizes": ()}, r"ship_sizes \(\(\)\) must be integers"),
        ("BattleshipEasy", {"board_size": 4, "ship_sizes": (4, 4)}, r"ship_sizes .* take too much of a board"),
        ("BattleshipEasy", {"board_size": 1, "ship_sizes": (1,)}, r"ship_sizes .* take too much of a board"),
        ("MineSweeperEasy", {"board_size": 0}, r"board_size \(0\) must be a positive integer"),
        ("MineSweeperEasy", {"num_mines": 0}, r"num_mines \(0\) must be a positive integer"),
        ("MineSweeperEasy", {"num_mines": 14}, r"num_mines \(14\) must leave three squares of board_size"),
        ("MultiarmedBanditEasy", {"num_bandits": 0}, r"num_bandits \(0\) must be a positive integer"),
        ("MultiarmedBanditEasy", {"max_episode_length": 0}, r"max_episode_length \(0\) must be a positive integer"),
        ("LabyrinthEscapeEasy", {"maze_dims": (3, 4)}, r"maze_dims \(\(3, 4\)\) must be two positive even integers"),
        ("LabyrinthExploreEasy", {"maze_dims": 4}, r"maze_dims \(4\) must be two positive even integers"),
        ("LabyrinthExploreEasy", {"max_episode_length": 1}, r"max_episode_length \(1\) must be at least 2"),
        ("PositionOnlyCartPoleEasy", {"max_episode_length": 0}, r"max_episode_length \(0\) must be a positive integer"),
        ("VelocityOnlyCartPoleEasy", {"max_episode_length": 0}, r"max_episode_length \(0\) must be a positive integer"),
        ("PositionOnlyPendulumEasy", {"max_episode_length": 0}, r"max_episode_length \(0\) must be a positive integer"),
        ("NoisyPositionOnlyCartPoleEasy", {"max_episode_length": 1.5}, r"max_episode_length \(1.5\) must be"),
        ("NoisyPositionOnlyCartPoleEasy", {"noise_sigma": -0.1}, r"noise_sigma \(-0.1\) must be"),
        ("NoisyPositionOnlyPendulumEasy", {"noise_sigma": "low"}, r"noise_sigma \('low'\) must be"),
    ],
)
def test_settings_are_checked(id: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(id, **settings)


def test_settings_replace_those_of_the_level() -> None:
    env, params = make("RepeatPreviousMedium", k=3)
    assert env.k == 3
    assert params.num_decks == 2
    env, params = make("NoisyPositionOnlyCartPoleHard", max_episode_length=50)
    assert params.noise_sigma == 0.3
    assert params.max_episode_length == 50
    env, params = make("LabyrinthExploreHard", maze_dims=(4, 6))
    _, state = jax.eval_shape(env.reset, jax.random.key(0), params)
    assert state.grid.shape == (5, 7)
