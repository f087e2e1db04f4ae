"""Suites on the host keep the protocol, and tell time limits from ends as their packages do by themselves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import envpool
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv

from memorax.environments import make
from memorax.environments.ale import AtariBatch
from memorax.environments.envpool import EnvpoolBatch
from memorax.environments.host import HostBatch
from memorax.environments.spaces import Box, Dict
from memorax.testing import check_environment

NUM_ENVS = 4
SEEDS = np.arange(1, NUM_ENVS + 1, dtype=np.int32)
IDS: dict[str, dict[str, Any]] = {
    "ale::breakout": {"max_num_frames_per_episode": 80},
    "ale::pong": {
        "grayscale": False,
        "stack_num": 2,
        "img_height": 50,
        "img_width": 40,
        "max_num_frames_per_episode": 80,
    },
    "ale::seaquest": {"continuous": True, "repeat_action_probability": 0.25, "max_num_frames_per_episode": 80},
    "envpool::CartPole-v1": {},
    "envpool::Breakout-v5": {"stack_num": 1, "max_episode_steps": 20},
    "envpool::Ant-v4": {"max_episode_steps": 20},
    "envpool::CartpoleSwingup-v1": {"max_episode_steps": 20},
    "gymnasium::CartPole-v1": {"max_episode_steps": 20},
    "gymnasium::Taxi-v4": {"max_episode_steps": 20},
    "gymnasium::MountainCarContinuous-v0": {"max_episode_steps": 20},
}

Reference = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@pytest.mark.parametrize("id", IDS)
def test_the_protocol_is_kept(id: str) -> None:
    check_environment(*make(id, **IDS[id]), num_steps=60)


def play_atari(settings: dict[str, Any]) -> tuple[HostBatch, np.ndarray, Reference, Callable[[], Any]]:
    """Our batch, its package's own reset, step and close; the latter resets at the step after an end."""
    games = AtariVectorEnv("breakout", NUM_ENVS, stack_num=1, **settings)
    first = np.moveaxis(games.reset(seed=SEEDS)[0], 1, 3)

    def step(action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observation, _, terminated, truncated, _ = games.step(action)
        return np.moveaxis(observation, 1, 3), terminated, truncated

    return AtariBatch("breakout", {"stack_num": 1, **settings}, NUM_ENVS), first, step, games.close


def play_pool(settings: dict[str, Any]) -> tuple[HostBatch, np.ndarray, Reference, Callable[[], Any]]:
    """As `play_atari`, of a pool."""
    with warnings.catch_warnings(action="ignore"):
        pool = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=NUM_ENVS, seed=SEEDS.tolist(), **settings)
        first = pool.reset()[0].copy()

    def step(action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observation, _, terminated, truncated, _ = pool.step(action)
        return observation.copy(), terminated, truncated

    return EnvpoolBatch("CartPole-v1", settings, NUM_ENVS), first, step, pool.close


PLAYS = {"ale": (play_atari, "max_num_frames_per_episode", 80), "envpool": (play_pool, "max_episode_steps", 6)}


@pytest.fixture(params=["ale-end", "ale-limit", "envpool-end", "envpool-limit"])
def episodes(request: pytest.FixtureRequest) -> Iterator[tuple[bool, Any]]:
    suite, kind = request.param.split("-")
    play, option, value = PLAYS[suite]
    limited = kind == "limit"
    batch, *reference, close = play({option: value} if limited else {})
    yield limited, (batch, *reference)
    batch.close()
    close()


def test_first_episodes_are_those_of_the_package(episodes: Any) -> None:
    limited, (batch, first, step) = episodes
    np.testing.assert_array_equal(batch.reset(SEEDS), first)
    random = np.random.default_rng(0)
    waiting, playing = np.zeros(NUM_ENVS, bool), np.ones(NUM_ENVS, bool)
    started = np.zeros_like(first)
    for _ in range(2000):
        action = random.integers(0, 2 if first.ndim == 2 else 4, NUM_ENVS).astype(np.int32)
        expected, *expected_ends = step(action)
        np.testing.assert_array_equal(started[waiting], expected[waiting])
        observation, _, terminated, truncated, final_observation = batch.step(action)
        np.testing.assert_array_equal(final_observation[playing], expected[playing])
        for ends, wanted in zip((terminated, truncated), expected_ends, strict=True):
            np.testing.assert_array_equal(ends[playing], wanted[playing])
        waiting = playing & (terminated | truncated)
        np.testing.assert_array_equal(truncated[waiting], limited)
        np.testing.assert_array_equal(observation[playing & ~waiting], final_observation[playing & ~waiting])
        started = observation
        playing = playing & ~waiting
        if not playing.any() and not waiting.any():
            break
    assert not playing.any()


def test_images_have_their_channels_last() -> None:
    shapes = {
        "ale::breakout": (84, 84, 1),
        "ale::pong": (50, 40, 6),
        "envpool::Breakout-v5": (84, 84, 1),
        "envpool::Ant-v4": (27,),
    }
    for id, shape in shapes.items():
        space = make(id, **IDS[id])[0].observation_space(None)
        assert isinstance(space, Box) and space.shape == shape
    assert isinstance(make("envpool::CartpoleSwingup-v1")[0].observation_space(None), Dict)


def test_a_game_is_drawn_as_the_agent_sees_it() -> None:
    env, params = make("ale::pong", stack_num=2)
    observation, state = jax.jit(lambda: env.vectorize(2).reset(jax.random.key(0), params))()
    picture = env.render(jax.tree.map(lambda x: x[1], state), params)
    np.testing.assert_array_equal(picture, jnp.repeat(observation[1, ..., -1:], 3, axis=-1))


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("ale::breakout", {"frame_skip": 4}, r"^ale::breakout has no option 'frame_skip': did you mean 'frameskip'"),
        ("ale::breakout", {"frameskip": 0}, r"^frameskip \(0\) of ale::breakout must be an integer from 1 up$"),
        ("ale::breakout", {"full_action_space": 1}, r"^full_action_space \(1\) of ale::breakout must be True or False"),
        (
            "ale::breakout",
            {"repeat_action_probability": 2},
            r"^repeat_action_probability \(2\) .* from 0 to 1$",
        ),
        ("ale::brekout", {}, r"^unknown environment 'ale::brekout': did you mean 'ale::breakout'"),
        ("envpool::CartPole-v1", {"max_steps": 4}, r"^envpool::CartPole-v1 has no option 'max_steps'"),
        (
            "envpool::CartPole-v1",
            {"max_episode_steps": "a"},
            r"^envpool::CartPole-v1 cannot be made with {",
        ),
    ],
)
def test_what_is_not_valid_is_one_line(id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        make(id, **options)
    assert "\n" not in str(raised.value)
