"""Wrappers keep the protocol and change only what they say."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments import Environment, make
from memorax.environments.popgym.repeat_first import RepeatFirst
from memorax.environments.wrappers import MaskObservation, Wrapper

CARTPOLE = "gymnax::CartPole-v1"


class Rewarded(Wrapper):
    """The smallest wrapper: it doubles the reward."""

    def step_env(self, key: Any, env_state: Any, action: Any, params: Any) -> Any:
        observation, state, reward, *rest = self.env.step_env(key, env_state, action, params)
        return (observation, state, 2 * reward, *rest)


def test_a_wrapper_passes_on_what_it_does_not_change() -> None:
    env, params = make("popgym::PositionOnlyCartPoleEasy")
    wrapped = Rewarded(env)
    assert isinstance(wrapped, Environment)
    assert wrapped.name == env.name
    assert wrapped.default_params == params
    assert wrapped.action_space(params) == env.action_space(params)
    np.testing.assert_array_equal(wrapped.observation_space(params).high, env.observation_space(params).high)
    _, state = theirs = jax.jit(env.reset)(jax.random.key(0), params)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(wrapped.reset)(jax.random.key(0), params), theirs)
    ours = jax.jit(wrapped.step)(jax.random.key(1), state, jnp.asarray(1), params)
    theirs = jax.jit(env.step)(jax.random.key(1), state, jnp.asarray(1), params)
    assert float(ours[2]) == 2 * float(theirs[2])
    jax.tree.map(np.testing.assert_array_equal, ours[:2] + ours[3:], theirs[:2] + theirs[3:])


def test_bounds_shared_by_all_elements_are_kept() -> None:
    env, params = make("gymnax::MemoryChain-bsuite")
    space = MaskObservation(env, (1,)).observation_space(params)
    np.testing.assert_array_equal(space.high, [2.0])


@pytest.mark.parametrize("indices", [(0, 4), (-1,), (), (1, 1), (0.5,), "position", 2])
def test_indices_that_name_no_elements_are_refused(indices: Any) -> None:
    if indices == 2:
        indices = 7  # a single number is read as one index, and this one is out of range
    with pytest.raises(ValueError) as raised:
        make(CARTPOLE, mask_observation=indices)
    assert str(raised.value) == f"mask_observation ({indices!r}) must name different elements to keep, each from 0 to 3"


@pytest.mark.parametrize(
    ("id", "has"),
    [
        ("popgym::RepeatFirstEasy", "RepeatFirst has a Discrete"),
        ("gymnax::Breakout-MinAtar", "Breakout-MinAtar has a Box of shape (10, 10, 4)"),
    ],
)
def test_observations_that_are_no_flat_box_are_refused(id: str, has: str) -> None:
    with pytest.raises(ValueError) as raised:
        make(id, mask_observation=(0,))
    assert str(raised.value) == f"mask_observation needs a Box observation of one axis: {has}"


class Drawn(RepeatFirst):
    """Drawn as one gray, the number its state is replaced by."""

    def render(self, env_state: Any, params: Any) -> np.ndarray:
        return np.full((2, 3, 3), int(env_state), np.uint8)


class WithItsOwnState(Rewarded):
    """A wrapper with a state of its own."""

    def inner_state(self, env_state: Any) -> Any:
        return env_state[0]


def test_a_wrapper_is_drawn_as_what_it_wraps() -> None:
    drawn = WithItsOwnState(Rewarded(Drawn()))
    assert drawn.renders
    np.testing.assert_array_equal(drawn.render((7, "own"), drawn.default_params), 7)
