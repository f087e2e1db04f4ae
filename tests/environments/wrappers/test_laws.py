"""What holds for every wrapper: it keeps the protocol, alone and around others, and refuses what it cannot use."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from memorax import testing
from memorax.environments.environment import Environment
from memorax.environments.options import check_options
from memorax.environments.spaces import Box, Discrete, MultiDiscrete
from memorax.environments.wrappers import WRAPPERS
from tests.environments.wrappers.track import ACTIONS, LIMIT, Track, play
from tests.probes import OthersCue

CASES: dict[str, tuple[Environment, Any]] = {
    "global_state": (OthersCue(), True),
    "agent_id": (OthersCue(), True),
    "action_repeat": (Track(), 3),
    "time_limit": (Track(), 3),
    "optimistic_resets": (Track(), 2),
    "sticky_actions": (Track(), 0.5),
    "rescale_action": (Track(Box(-1.0, 3.0, (2,))), True),
    "clip_action": (Track(Box(-1.0, 1.0, (2,))), True),
    "flatten_action": (Track(MultiDiscrete((2, 3))), True),
    "scale_reward": (Track(), 0.5),
    "normalize_reward": (Track(), 0.9),
    "flatten_observation": (Track(), True),
    "mask_observation": (Track(), (1,)),
    "noisy_observation": (Track(), 0.3),
    "delay_observation": (Track(), 2),
    "normalize_observation": (Track(), True),
    "flicker_observation": (Track(), 0.5),
    "periodic_observation": (Track(), 3),
    "frame_stack": (Track(), 3),
    "previous_action_and_reward": (Track(), True),
}
"""For every keyword an environment the wrapper fits and a value it is given."""


def test_every_wrapper_has_a_case() -> None:
    assert list(CASES) == list(WRAPPERS)


@pytest.mark.parametrize("keyword", CASES)
def test_a_wrapper_keeps_the_protocol(keyword: str) -> None:
    env, value = CASES[keyword]
    wrapped = WRAPPERS[keyword](env, value)
    assert (wrapped.name, wrapped.renders) == (env.name, env.renders)
    testing.check_environment(wrapped, None, num_steps=40, num_envs=3)


def test_all_wrappers_together_keep_the_protocol_and_are_drawn() -> None:
    env: Environment = Track(MultiDiscrete((2, 3)))
    for keyword, (_, value) in CASES.items():
        if keyword not in ("global_state", "agent_id", "rescale_action", "clip_action", "sticky_actions"):
            env = WRAPPERS[keyword](env, value)
    testing.check_environment(env, None, num_steps=40, num_envs=3)
    _, state = jax.jit(env.vectorize(3).reset)(jax.random.key(0), None)
    np.testing.assert_array_equal(env.render(jax.tree.map(lambda x: x[0], state), None), 0)


@pytest.mark.parametrize("order", [("scale_reward", "time_limit"), ("time_limit", "scale_reward")])
def test_transforms_fit_inside_and_outside_of_a_time_limit(order: tuple[str, str]) -> None:
    env: Environment = Track()
    for keyword in ("delay_observation", *order):
        env = WRAPPERS[keyword](env, CASES[keyword][1])
    steps = play(env, ACTIONS)
    np.testing.assert_array_equal(steps.truncated, (steps.time == 3) & ~steps.terminated)
    np.testing.assert_array_equal(steps.reward, 0.5 * steps.time)
    np.testing.assert_array_equal(steps.info["final_observation"][..., 1], np.maximum(steps.time - 2, 0))


def test_optimistic_resets_serve_a_transform_around_them() -> None:
    env = WRAPPERS["delay_observation"](WRAPPERS["optimistic_resets"](Track(), 1), 2)
    steps = play(env, np.zeros((6, 4), np.int32))
    assert steps.truncated[LIMIT - 1].all()
    assert len(np.unique(steps.first[:, 0])) == 4
    assert len(np.unique(steps.observation[LIMIT - 1, :, 0])) == 1  # all start from the one fresh state
    np.testing.assert_array_equal(steps.observation[LIMIT - 1, :, 1], 0)


WRONG: dict[str, tuple[Any, str]] = {
    "global_state": (1, "global_state (1) must be True or False"),
    "agent_id": ("no", "agent_id ('no') must be True or False"),
    "action_repeat": (0, "action_repeat (0) must be a positive integer: how often an action is taken"),
    "time_limit": (2.5, "time_limit (2.5) must be a positive integer: the longest an episode lasts, in steps"),
    "optimistic_resets": (-1, "optimistic_resets (-1) must be how many first states to draw per step"),
    "sticky_actions": (2, "sticky_actions (2) must be a probability from 0 to 1"),
    "rescale_action": ((1, -1), "rescale_action ((1, -1)) must be True or two finite numbers, the smaller first"),
    "clip_action": ("yes", "clip_action ('yes') must be True or False"),
    "flatten_action": (1, "flatten_action (1) must be True or False"),
    "scale_reward": (0, "scale_reward (0) must be a finite number other than 0"),
    "normalize_reward": (True, "normalize_reward (True) must be the discount of returns, a number from 0 up to"),
    "flatten_observation": (None, "flatten_observation (None) must be True or False"),
    "mask_observation": ((3,), "mask_observation ((3,)) must name different elements to keep, each from 0 to 1"),
    "noisy_observation": (-0.1, "noisy_observation (-0.1) must be a positive number, a standard deviation"),
    "delay_observation": (True, "delay_observation (True) must be a positive integer: the delay in steps"),
    "normalize_observation": (0.99, "normalize_observation (0.99) must be True or False"),
    "flicker_observation": ("0.5", "flicker_observation ('0.5') must be a probability from 0 to 1"),
    "periodic_observation": (-1, "periodic_observation (-1) must be a positive integer: steps from one observation"),
    "frame_stack": (0, "frame_stack (0) must be a positive integer: how many observations are seen at once"),
    "previous_action_and_reward": ("no", "previous_action_and_reward ('no') must be True or False"),
}


@pytest.mark.parametrize("keyword", CASES)
def test_a_wrong_value_is_refused_in_one_line(keyword: str) -> None:
    value, message = WRONG[keyword]
    with pytest.raises(ValueError) as raised:
        WRAPPERS[keyword](CASES[keyword][0], value)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_counts_are_whole_numbers_however_written_and_no_more_than_can_be_counted() -> None:
    assert WRAPPERS["time_limit"](Track(), 1e3).num_steps == 1000
    with pytest.raises(
        ValueError, match=r"^time_limit \(2147483648\) must not exceed 2147483647: the longest an episode"
    ):
        WRAPPERS["time_limit"](Track(), 2**31)


class Named(Track):
    """Observes a number that names something."""

    def observation_space(self, params: Any) -> Discrete:
        return Discrete(4)


class Counted(Track):
    """Observes integers."""

    def observation_space(self, params: Any) -> Box:
        return Box(0, 9, (2,), np.int32)


NO_BOX = "{} needs a Box observation: Named has a Discrete; flatten_observation makes it one"
IN_BATCHES = "{} needs an environment that can be stepped alone, and Track is stepped in batches: apply it before"
UNFIT: dict[str, tuple[Environment, str]] = {
    "global_state": (
        Track(),
        "global_state (True) needs an environment of several agents, before other wrappers: Track",
    ),
    "agent_id": (
        WRAPPERS["agent_id"](OthersCue(), True),
        "agent_id (True) cannot be added: observations of OthersCue have a part of that name",
    ),
    "action_repeat": (WRAPPERS["normalize_reward"](Track(), 0.9), IN_BATCHES.format("action_repeat")),
    "time_limit": (WRAPPERS["normalize_reward"](Track(), 0.9), IN_BATCHES.format("time_limit")),
    "optimistic_resets": (WRAPPERS["normalize_reward"](Track(), 0.9), IN_BATCHES.format("optimistic_resets")),
    "rescale_action": (Track(), "rescale_action ((-1.0, 1.0)) needs a Box of actions: Track has a Discrete"),
    "clip_action": (Track(), "clip_action (True) needs a Box of actions: Track has a Discrete"),
    "flatten_action": (
        Track(),
        "flatten_action (True) needs actions that are MultiDiscrete (FlattenAction) or a Box (FlattenBoxAction): "
        "Track has a Discrete",
    ),
    "mask_observation": (Named(), "mask_observation needs a Box observation of one axis: Named has a Discrete"),
    "noisy_observation": (Counted(), "noisy_observation needs observations of floats: those of Counted are int32"),
    "normalize_observation": (Named(), NO_BOX.format("normalize_observation")),
    "flicker_observation": (Named(), NO_BOX.format("flicker_observation")),
    "periodic_observation": (Named(), NO_BOX.format("periodic_observation")),
    "frame_stack": (Named(), NO_BOX.format("frame_stack")),
}


@pytest.mark.parametrize("keyword", UNFIT)
def test_an_environment_it_does_not_fit_is_refused_in_one_line(keyword: str) -> None:
    env, message = UNFIT[keyword]
    with pytest.raises(ValueError) as raised:
        WRAPPERS[keyword](env, CASES[keyword][1])
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_switch_that_is_off_changes_nothing() -> None:
    env = Track()
    assert WRAPPERS["normalize_observation"](env, False) is env


def test_a_misspelt_wrapper_is_answered_with_the_closest() -> None:
    with pytest.raises(ValueError) as raised:
        check_options("suite::Id", ["frame_stak"], ["length"])
    assert str(raised.value).startswith(
        "suite::Id has no option 'frame_stak': did you mean 'frame_stack'? "
        "(valid: length; for any environment: action_repeat, agent_id, clip_action, "
    )
