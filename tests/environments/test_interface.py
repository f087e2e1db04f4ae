from __future__ import annotations

import json

import jax
import numpy as np
import pytest

import memorax
from memorax.environments.interface import describe_interface, interface_from_json
from memorax.environments.space_json import space_from_json, space_to_json
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.environments.wrappers import FlattenObservation

SPACES = [
    Discrete(3),
    MultiDiscrete((2, 5)),
    Box(0, 255, (2, 2, 3), np.uint8),
    Box(np.asarray([-np.inf, -1.0]), np.asarray([np.inf, 0.1]), (2,)),
    Box(0, 1, (3,), bool),
    Dict({"one": Discrete(2), "other": Dict({"inner": Box(-1.0, 1.0)})}),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_a_space_comes_back_from_json(space: Space) -> None:
    text = json.dumps(space_to_json(space), allow_nan=False)
    back = space_from_json(json.loads(text))
    assert space_to_json(back) == space_to_json(space)
    one, other = (each.sample(jax.random.key(0)) for each in (space, back))
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_a_picture_has_two_bounds_and_not_thousands() -> None:
    assert len(json.dumps(space_to_json(Box(np.zeros((84, 84)), np.ones((84, 84)), (84, 84))))) < 200


def test_an_interface_names_the_wrappers_that_were_asked_for_and_no_others() -> None:
    env, env_params = memorax.make(
        "gymnax::CartPole-v1", mask_observation=(0, 2), flatten_observation=False, frame_stack=3
    )
    interface = describe_interface(env, env_params)
    assert interface.wrappers == {"mask_observation": (0, 2), "frame_stack": 3}
    assert (interface.observation_space.shape, interface.seen_space.shape) == ((4,), (6,))
    written = json.loads(json.dumps(interface.to_json(), allow_nan=False))
    assert interface_from_json(written).to_json() == written

    interface = describe_interface(FlattenObservation(env), env_params)
    assert (interface.wrappers, interface.observation_space.shape) == ({}, (6,)), "one by hand ends what is known"


def test_a_policy_leaves_to_the_world_what_is_the_worlds() -> None:
    env, env_params = memorax.make("gymnax::CartPole-v1", flicker_observation=0.5, time_limit=9, scale_reward=2.0)
    assert describe_interface(env, env_params).carried == {"scale_reward": 2.0}
