"""What is shown beside an agent's own observation, and that it passes by what changes observations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.environment import Environment
from memorax.environments.multi_agent import MultiAgentEnvironment
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.environments.wrappers import (
    WRAPPERS,
    AgentId,
    FlattenAction,
    FlattenObservation,
    GlobalState,
    MaskObservation,
    TimeLimit,
)
from memorax.networks import SpaceEncoder
from memorax.testing import check_environment
from memorax.types import Array, Key, PyTree
from tests.environments.wrappers.track import play
from tests.probes import MaskedActions, OthersCue


class Places(MultiAgentEnvironment):
    """Three agents see the episode's number and `10 * number + place`; agents may have a global state of their own."""

    def __init__(self, own_state: bool = False) -> None:
        self.own_state = own_state

    @property
    def num_agents(self) -> int:
        return 3

    def reset_agents(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        number = jax.random.randint(key, (), 1, 1000).astype(jnp.float32)
        return self.observe(number), number

    def step_agents(self, key: Key, env_state: Array, action: Array, params: PyTree) -> Any:
        number, no = env_state + 1, jnp.zeros((), bool)
        return self.observe(number), number, jnp.zeros(3), jnp.zeros(3, bool), action[0] == 1, no, {}

    def observe(self, number: Array) -> Array:
        return jnp.stack([jnp.full(3, number), 10 * number + jnp.arange(3)], axis=1)

    def global_state(self, env_state: Array) -> Array | None:
        return jnp.stack([jnp.full(3, -env_state), jnp.arange(3.0)], axis=1) if self.own_state else None

    def observation_space(self, params: PyTree) -> Space:
        return Box(0.0, 1e5, (2,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(2)


def test_the_global_state_lies_beside_the_observations_it_is_made_of() -> None:
    env = AgentId(GlobalState(Places()))
    actions = np.zeros((3, 6), np.int32)
    actions[1, 0] = 1  # the first environment ends with the second step
    steps = play(env.vectorize(2), actions)
    observations = [jax.tree.map(lambda x: x[None], steps.first), steps.observation, steps.info["final_observation"]]
    for observed in observations:
        own, state = observed["observation"], observed["global_state"]
        assert state.shape == (len(own), 6, 6)
        for row in range(6):
            first = 3 * (row // 3)
            np.testing.assert_array_equal(state[:, row], own[:, first : first + 3].reshape(-1, 6))
        np.testing.assert_array_equal(observed["agent_id"], np.tile(np.eye(3), (len(own), 2, 1)))
    # Environments differ, and so do the last observation of an episode and the first of the next.
    assert len(np.unique(steps.first["global_state"][:, 0])) == 2
    final, following = steps.info["final_observation"]["global_state"][1], steps.observation["global_state"][1]
    assert (final[:3] != following[:3]).all(axis=1).all() == bool(steps.terminated[1, 0])
    np.testing.assert_array_equal(final[3:], following[3:])


def test_an_environment_may_have_a_global_state_of_its_own() -> None:
    env = GlobalState(Places(own_state=True))
    observation, _ = env.vectorize(2).reset(jax.random.key(0), None)
    state = np.asarray(observation["global_state"])
    np.testing.assert_array_equal(state[:, 0], -np.asarray(observation["observation"])[:, 0])
    np.testing.assert_array_equal(state[:, 1], [0, 1, 2, 0, 1, 2])
    space = env.observation_space(None).spaces["global_state"]
    assert isinstance(space, Box) and space.shape == (2,) and not space.bounded
    check_environment(env, None, num_steps=5, num_envs=2)


class Cells(Places):
    """Three agents see four bytes and what is one of three."""

    def observe(self, number: Array) -> Any:
        cells = 10 * jnp.arange(12).reshape(3, 4) + number
        return {"cells": cells.astype(jnp.uint8), "kind": jnp.arange(3)}

    def observation_space(self, params: PyTree) -> Space:
        return Dict({"cells": Box(0, 255, (4,), jnp.uint8), "kind": Discrete(3)})


def test_critics_see_integers_scaled_as_agents_do() -> None:
    env = GlobalState(Cells())
    observation, _ = env.vectorize(2).reset(jax.random.key(0), None)
    spaces = env.observation_space(None).spaces
    own = SpaceEncoder(Cells().observation_space(None))
    seen = np.asarray(own.apply({}, {name: observation[name][None] for name in ("cells", "kind")}))[0]
    assert 0 < seen.max() <= 1
    state = SpaceEncoder(spaces["global_state"]).apply({}, observation["global_state"][None])[0]
    np.testing.assert_array_equal(state, np.repeat(seen.reshape(2, -1), 3, axis=0))
    np.testing.assert_array_equal(spaces["global_state"].low, 0)
    np.testing.assert_array_equal(spaces["global_state"].high, 1)
    check_environment(env, None, num_steps=5, num_envs=2)


def test_other_wrappers_leave_masks_and_the_global_state_as_they_are() -> None:
    around = {
        "flatten_observation": True,
        "mask_observation": (0, 2),
        "noisy_observation": 0.1,
        "delay_observation": 1,
        "normalize_observation": True,
        "flicker_observation": 0.5,
        "periodic_observation": 2,
        "frame_stack": 2,
        "previous_action_and_reward": True,
    }
    env: Environment = AgentId(GlobalState(OthersCue()))
    for keyword, value in around.items():
        env = WRAPPERS[keyword](env, value)
    check_environment(env, None, num_steps=8, num_envs=2)
    space = env.observation_space(None)
    assert isinstance(space, Dict) and set(space.spaces) == {"observation", "action", "reward", "global_state"}
    plain, wrapped = (play(e.vectorize(2), np.zeros((7, 4), np.int32)) for e in (GlobalState(OthersCue()), env))
    assert wrapped.observation["observation"].shape == (7, 4, 4)
    assert wrapped.observation["global_state"].shape == plain.observation["global_state"].shape
    assert set(np.unique(wrapped.observation["global_state"])) == {-1.0, 0.0, 1.0}

    masked = WRAPPERS["delay_observation"](WRAPPERS["normalize_observation"](MaskedActions(), True), 2)
    steps = play(masked, np.zeros((1, 3), np.int32))
    np.testing.assert_array_equal(steps.first["action_mask"], np.tile([True, False, True, False], (3, 1)))
    np.testing.assert_array_equal(steps.observation["action_mask"][0], np.tile([False, True, False, True], (3, 1)))


class Choices(Environment):
    """Two choices, of 2 and 3; what is legal is said for each or for both together."""

    def __init__(self, joint: bool) -> None:
        self.joint = joint

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        return self.observe(), jnp.zeros(())

    def step_env(self, key: Key, env_state: Array, action: Array, params: PyTree) -> Any:
        time = env_state + 1
        return self.observe(), time, jnp.zeros(()), time == 2, jnp.zeros((), bool), {}

    def observe(self) -> PyTree:
        if self.joint:
            mask = jnp.asarray([[True, False, True], [False, True, False]])
            return {"left": jnp.zeros(2), "joint_action_mask": mask}
        return {"left": jnp.zeros(2), "action_mask": jnp.asarray([True, False, True, True, False])}

    def observation_space(self, params: PyTree) -> Space:
        mask = Box(0, 1, (2, 3), bool) if self.joint else Box(0, 1, (5,), bool)
        return Dict({"left": Box(0, 1, (2,)), "joint_action_mask" if self.joint else "action_mask": mask})

    def action_space(self, params: PyTree) -> Space:
        return MultiDiscrete((2, 3))


@pytest.mark.parametrize("joint", [False, True])
def test_combinations_of_legal_choices_are_legal(joint: bool) -> None:
    env = FlattenObservation(FlattenAction(Choices(joint)))
    observation, _ = env.vectorize(2).reset(jax.random.key(0), None)
    legal = [True, False, True, False, True, False] if joint else [True, True, False, False, False, False]
    np.testing.assert_array_equal(observation["action_mask"], [legal, legal])
    assert set(observation) == {"observation", "action_mask"}
    check_environment(env, None, num_steps=3, num_envs=2)


def test_they_come_before_other_wrappers() -> None:
    with pytest.raises(ValueError, match=r"^agent_id \(True\) needs an environment of several agents, before other wr"):
        AgentId(MaskObservation(OthersCue(), (0,)))
    with pytest.raises(ValueError, match="time_limit"):
        TimeLimit(AgentId(OthersCue()), 3)
