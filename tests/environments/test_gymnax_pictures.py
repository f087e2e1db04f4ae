"""Classic control is drawn from its state, grids from what is observed."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from memorax.environments import make
from memorax.environments.drawing import BLACK
from memorax.environments.gymnax_pictures import CELL, CHANNELS, PICTURES, draw_image


@pytest.mark.parametrize("name", PICTURES)
def test_classic_control_is_drawn_where_it_stands(name: str) -> None:
    env, params = make(f"gymnax::{name}")
    assert env.renders
    _, state = env.reset(jax.random.key(0), params)
    moved = {
        "Acrobot-v1": {"joint_angle2": 1.0},
        "CartPole-v1": {"x": 1.0},
        "MountainCar-v0": {"position": 0.3},
        "MountainCarContinuous-v0": {"position": 0.3},
        "Pendulum-v1": {"theta": 1.0},
    }[name]
    pictures = [env.render(state, params), env.render(state.replace(**moved), params)]
    assert all(picture.dtype == np.uint8 and picture.shape == pictures[0].shape for picture in pictures)
    assert (pictures[0] != pictures[1]).any()


def test_a_grid_is_drawn_as_it_is_observed() -> None:
    env, params = make("gymnax::Catch-bsuite")
    observation, state = env.reset(jax.random.key(0), params)
    picture = env.render(state, params)
    seen = (picture[::CELL, ::CELL] != BLACK).any(axis=-1)
    np.testing.assert_array_equal(seen, np.asarray(observation) > 0)


def test_each_channel_has_its_color_and_colors_are_kept() -> None:
    flags = np.zeros((2, 3, 4))
    flags[0, 1, 2] = flags[1, 1, 0] = flags[1, 1, 3] = 1
    picture = draw_image(flags)[::CELL, ::CELL]
    assert tuple(picture[0, 1]) == CHANNELS[2] and tuple(picture[1, 1]) == CHANNELS[3]
    assert (picture != BLACK).any(axis=-1).sum() == 2
    colors = np.random.default_rng(0).integers(0, 255, (2, 2, 3), np.uint8)
    np.testing.assert_array_equal(draw_image(colors)[::CELL, ::CELL], colors)


def test_what_has_no_picture_says_so() -> None:
    env, params = make("gymnax::FourRooms-misc")
    assert not env.renders
    with pytest.raises(ValueError, match=r"^FourRooms-misc cannot be drawn: it has no method render"):
        env.render(SimpleNamespace(), params)
