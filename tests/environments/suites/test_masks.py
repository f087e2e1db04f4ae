"""Masks of legal actions, agents that are out and global states, as packages have them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments import make
from memorax.environments.spaces import Dict, Discrete, MultiDiscrete
from memorax.testing import check_environment

MASKED: dict[str, dict[str, Any]] = {
    "jumanji::Snake-v1": {},
    "jumanji::Cleaner-v0": {},
    "jumanji::MultiCVRP-v0": {},
    "jumanji::Minesweeper-v0": {"flatten_action": True},
    "jaxmarl::HeuristicEnemySMAX": {"global_state": True, "agent_id": True},
    "jaxmarl::hanabi": {"global_state": True},
    "pobax::battleship_3": {},
    "gymnasium::Taxi-v4": {},
}
"""Environments with a mask of their actions."""


@pytest.mark.parametrize("id", MASKED)
def test_a_mask_fits_the_actions(id: str) -> None:
    env, params = make(id, **MASKED[id])
    space, actions = env.observation_space(params), env.action_space(params)
    assert isinstance(space, Dict) and isinstance(actions, Discrete | MultiDiscrete)
    size = actions.n if isinstance(actions, Discrete) else sum(actions.nvec)
    assert (space.spaces["action_mask"].shape, space.spaces["action_mask"].dtype) == ((size,), bool)
    check_environment(env, params, num_steps=250, num_envs=2)


def test_a_mask_of_combinations_goes_by_another_name() -> None:
    env, params = make("jumanji::Minesweeper-v0")
    space = env.observation_space(params)
    assert isinstance(space, Dict) and "action_mask" not in space.spaces
    assert space.spaces["joint_action_mask"].shape == (10, 10)


def test_masks_are_those_of_the_package() -> None:
    env, params = make("jumanji::Cleaner-v0")
    observation, state = jax.jit(env.reset)(jax.random.key(0), params)
    np.testing.assert_array_equal(observation["action_mask"], np.ravel(state.action_mask))
    env, params = make("jaxmarl::hanabi")
    observation, state = jax.jit(env.reset)(jax.random.key(0), params)
    # Who is not to move can only pass, the last action.
    passing = observation["action_mask"][:, -1]
    assert passing.sum() == env.num_agents - 1
    np.testing.assert_array_equal(observation["action_mask"].sum(axis=1) == 1, passing)
    env, params = make("gymnasium::Taxi-v4")
    batch = env.vectorize(4)
    observation, state = batch.reset(jax.random.key(0), params)
    legal = jnp.argmax(observation["action_mask"], axis=1).astype(jnp.int32)
    after, *_ = batch.step(jax.random.key(0), state, legal, params)
    assert (after["observation"] != observation["observation"]).all()  # a legal move is one that moves


def test_units_fall_out_and_stay_out() -> None:
    env, params = make("jaxmarl::HeuristicEnemySMAX", num_allies=3, num_enemies=3)
    batch = env.vectorize(4)

    @jax.jit
    def play(key: jax.Array) -> Any:
        def step(state: Any, key: jax.Array) -> Any:
            action = jax.random.randint(key, (batch.batch_size,), 0, env.action_space(params).n)
            observation, state, _, terminated, truncated, info = batch.step(key, state, action, params)
            return state, (observation, terminated | truncated, info)

        return jax.lax.scan(step, batch.reset(key, params)[1], jax.random.split(key, 100))[1]

    observation, done, info = jax.device_get(play(jax.random.key(0)))
    active, went_out = info["active"], info["went_out"]
    assert went_out.any() and done.any() and not (went_out & done).any() and not (went_out & ~active).any()
    # An agent takes part in a step unless it went out before in the same episode.
    going_on = ~done[:-1]
    np.testing.assert_array_equal(active[1:][going_on], (active & ~went_out)[:-1][going_on])
    assert active[1:][done[:-1]].all()
    # Who is out can only stop: one action of all.
    assert (observation["action_mask"][:-1].sum(axis=-1)[~active[1:]] == 1).all()
