"""Battleship with a mask of the tiles that are left, which is a task of its own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.popgym.battleship import Battleship
from memorax.testing import check_environment
from memorax.types import Array


def play(env: Battleship, actions: Array) -> Any:
    """The observations and rewards that actions `[T, ...]` lead to, of one episode."""

    def step(state: Any, action: Array) -> Any:
        observation, state, reward, *_ = env.step_env(jax.random.key(0), state, action, None)
        return state, (observation, reward)

    return jax.jit(lambda: jax.lax.scan(step, env.reset(jax.random.key(3), None)[1], actions)[1])()


def test_the_mask_says_where_no_shot_has_fallen() -> None:
    plain, masked = Battleship(board_size=4, ship_sizes=(2, 3)), Battleship(4, (2, 3), action_mask=True)
    shots = jnp.asarray([5, 0, 15, 6, 5])
    expected, reward = play(plain, jnp.stack(jnp.divmod(shots, 4), axis=1))
    observation, masked_reward = play(masked, shots)
    np.testing.assert_array_equal(observation["observation"], expected)
    np.testing.assert_array_equal(masked_reward, reward)
    fallen = [set(np.flatnonzero(~mask).tolist()) for mask in np.asarray(observation["action_mask"])]
    assert fallen == [{5}, {0, 5}, {0, 5, 15}, {0, 5, 6, 15}, {0, 5, 6, 15}]
    check_environment(masked, None, num_steps=20, num_envs=2)


def test_it_is_asked_for_by_true_or_false() -> None:
    with pytest.raises(ValueError, match=r"^action_mask \(1\) must be True or False$"):
        Battleship(action_mask=1)  # type: ignore[arg-type]
