"""What each transform shows, step for step, across the ends of episodes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete
from memorax.environments.wrappers import (
    ClipAction,
    DelayObservation,
    FlattenAction,
    FlattenObservation,
    FlickerObservation,
    FrameStack,
    MaskObservation,
    NoisyObservation,
    PeriodicObservation,
    PreviousActionAndReward,
    RescaleAction,
    ScaleReward,
    StickyActions,
)
from tests.environments.wrappers.track import ACTIONS, LIMIT, Play, Track, play

LIMITS = np.iinfo(np.int32)
ENDS = np.zeros((13, 3), bool)
ENDS[[4, 9], 0] = ENDS[[2, 7, 9], 1] = ENDS[[4, 9], 2] = True


def starts(steps: Play, observed: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Of each step the number its episode was drawn, given those observed `[T, B]` and at first `[B]`."""
    before = np.concatenate([first[None], observed[:-1]])
    for t in range(1, len(before)):
        before[t] = np.where(steps.done[t - 1], before[t], before[t - 1])
    return before


def test_the_play_ends_where_it_should() -> None:
    steps = play(Track(), ACTIONS)
    np.testing.assert_array_equal(steps.done, ENDS)
    np.testing.assert_array_equal(steps.terminated, ENDS & (ACTIONS == 1))
    np.testing.assert_array_equal(steps.info["final_observation"][..., 1], steps.time)
    np.testing.assert_array_equal(steps.observation[..., 1], np.where(ENDS, 0, steps.time))
    drawn = starts(steps, steps.observation[..., 0], steps.first[:, 0])
    np.testing.assert_array_equal(steps.info["final_observation"][..., 0], drawn)
    assert len(np.unique(drawn)) == 3 + ENDS[:-1].sum()


def test_mask_observation() -> None:
    masked = MaskObservation(Track(), (1,))
    steps = play(masked, ACTIONS)
    np.testing.assert_array_equal(steps.first, 0)
    np.testing.assert_array_equal(steps.info["final_observation"][..., 0], steps.time)
    np.testing.assert_array_equal(steps.observation[..., 0], np.where(ENDS, 0, steps.time))
    space = masked.observation_space(None)
    assert (space.shape, space.low.tolist(), space.high.tolist()) == ((1,), [0], [LIMIT])
    reordered = play(MaskObservation(MaskObservation(Track(), (1, 0)), (1,)), ACTIONS)
    assert (reordered.first >= 1).all()


def test_delay_observation() -> None:
    steps = play(DelayObservation(Track(), 2), ACTIONS)
    late = np.maximum(steps.time - 2, 0)
    np.testing.assert_array_equal(steps.done, ENDS)
    np.testing.assert_array_equal(steps.info["final_observation"][..., 1], late)
    np.testing.assert_array_equal(steps.observation[..., 1], np.where(ENDS, 0, late))
    drawn = starts(steps, steps.observation[..., 0], steps.first[:, 0])
    np.testing.assert_array_equal(steps.info["final_observation"][..., 0], drawn)


def test_periodic_observation() -> None:
    steps = play(PeriodicObservation(Track(), 3), ACTIONS)
    seen = np.where(steps.time % 3 == 0, steps.time, 0)
    np.testing.assert_array_equal(steps.info["final_observation"][..., 1], seen)
    np.testing.assert_array_equal(steps.info["final_observation"][..., 0] == 0, steps.time % 3 != 0)
    assert (steps.first[:, 0] >= 1).all()
    assert (steps.observation[ENDS][:, 0] >= 1).all()  # the first observation of an episode is always seen
    np.testing.assert_array_equal(PeriodicObservation(Track(), 3).observation_space(None).low, 0)


def test_flicker_observation_blanks_as_often_as_it_says_and_each_by_itself() -> None:
    steps = play(FlickerObservation(Track(), 0.3), np.zeros((200, 20), np.int32))
    blank = (steps.observation == 0).all(axis=-1)
    np.testing.assert_array_equal(blank, steps.observation[..., 0] == 0)
    assert abs(blank.mean() - 0.3) < 0.03
    assert abs((blank[1:] & blank[:-1]).mean() - 0.09) < 0.03
    assert abs((blank[:, 1:] & blank[:, :-1]).mean() - 0.09) < 0.03
    going_on = ~steps.done
    np.testing.assert_array_equal(steps.info["final_observation"][going_on], steps.observation[going_on])
    np.testing.assert_array_equal(FlickerObservation(Track(), 0.3).observation_space(None).low, 0)


def test_noisy_observation_adds_noise_within_the_space() -> None:
    steps = play(NoisyObservation(Track(), 0.05), np.zeros((200, 20), np.int32))
    noise = steps.info["final_observation"][..., 1] - steps.time
    inside = noise[steps.time < LIMIT]
    assert abs(inside.std() - 0.05) < 0.003 and abs(inside.mean()) < 0.003
    assert (steps.info["final_observation"][..., 1] <= LIMIT).all()
    assert (noise[steps.time == LIMIT] == 0).mean() == pytest.approx(0.5, abs=0.1)


def test_frame_stack() -> None:
    stacked = FrameStack(Track(), 3)
    steps = play(stacked, ACTIONS)
    ages = np.maximum(steps.time[..., None] - np.arange(2, -1, -1), 0)
    np.testing.assert_array_equal(steps.info["final_observation"][..., 1::2], ages)
    np.testing.assert_array_equal(steps.observation[..., 1::2], np.where(ENDS[..., None], 0, ages))
    drawn = starts(steps, steps.observation[..., 0], steps.first[:, 0])
    np.testing.assert_array_equal(steps.info["final_observation"][..., ::2], np.stack([drawn] * 3, axis=-1))
    space = stacked.observation_space(None)
    assert (space.shape, space.high.tolist()) == ((6,), [2, LIMIT] * 3)


class Images(Track):
    """Observes a picture with one channel."""

    def observe(self, state):
        return jnp.full((4, 3, 1), state.steps, jnp.uint8)

    def observation_space(self, params):
        return Box(0, 255, (4, 3, 1), jnp.uint8)


def test_frames_are_stacked_as_channels() -> None:
    stacked = FrameStack(Images(), 2)
    assert stacked.observation_space(None).shape == (4, 3, 2)
    steps = play(stacked, ACTIONS)
    assert steps.observation.dtype == np.uint8
    np.testing.assert_array_equal(steps.info["final_observation"][..., 0, 0, 0], steps.time - 1)
    np.testing.assert_array_equal(steps.info["final_observation"][..., 0, 0, 1], steps.time)


def test_previous_action_and_reward() -> None:
    env = PreviousActionAndReward(Track())
    actions = np.where(ACTIONS == 1, 1, 2)
    steps = play(env, actions)
    np.testing.assert_array_equal(steps.first["action"], 0)
    np.testing.assert_array_equal(steps.first["reward"], 0)
    final = steps.info["final_observation"]
    np.testing.assert_array_equal(final["action"], actions)
    np.testing.assert_array_equal(final["reward"], steps.reward)
    np.testing.assert_array_equal(final["reward"], np.where(actions == 2, -1, 1) * steps.time)
    for name, value in (("action", actions), ("reward", steps.reward)):
        np.testing.assert_array_equal(steps.observation[name], np.where(steps.done, 0, value))
    np.testing.assert_array_equal(final["observation"][..., 1], steps.time)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "expected"),
    [
        (-np.inf, np.inf, jnp.int32, (LIMITS.min, LIMITS.max)),
        (1, 256, jnp.uint8, (0, 255)),
        (np.asarray([2.0, -3.0]), np.asarray([5.0, -1.0]), jnp.float32, ([0.0, -3.0], [5.0, 0.0])),
        (True, True, jnp.bool_, (False, True)),
    ],
)
def test_what_may_be_blank_reaches_to_zero_and_as_far_as_its_type(
    low: Any, high: Any, dtype: Any, expected: tuple[Any, Any]
) -> None:
    space = PreviousActionAndReward(Track(Box(low, high, (2,), dtype))).observation_space(None).spaces["action"]
    assert isinstance(space, Box) and (space.shape, space.dtype) == ((2,), dtype)
    np.testing.assert_array_equal(space.low, np.broadcast_to(expected[0], 2))
    np.testing.assert_array_equal(space.high, np.broadcast_to(expected[1], 2))


class Mixed(Track):
    """Observes a dictionary of every kind."""

    def observe(self, state):
        steps = state.steps
        return {
            "named": steps % 3,
            "box": jnp.stack([state.start, steps, steps, jnp.asarray(7.0)]).astype(jnp.float32).reshape(2, 2),
            "several": jnp.stack([steps % 2, jnp.zeros_like(steps)]),
        }

    def observation_space(self, params):
        spaces = {"named": Discrete(3), "box": Box(-1.0, 9.0, (2, 2)), "several": MultiDiscrete((2, 3))}
        return Dict(spaces)


def test_flatten_observation_makes_one_vector_of_any() -> None:
    env = FlattenObservation(Mixed())
    space = env.observation_space(None)
    assert space.shape == (4 + 3 + 2 + 3,)
    np.testing.assert_array_equal(space.low, [-1] * 4 + [0] * 8)
    np.testing.assert_array_equal(space.high, [9] * 4 + [1] * 8)
    steps = play(env, ACTIONS[:2])
    start = steps.first[0, 0]
    np.testing.assert_array_equal(steps.observation[0, 0], [start, 1, 1, 7, *(0, 1, 0), *(0, 1), *(1, 0, 0)])


@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_sticky_actions_stick_as_often_as_they_should(probability: float) -> None:
    class Long(Track):
        def step_env(self, key, env_state, action, params):
            return super().step_env(key, env_state.replace(steps=jnp.zeros((), jnp.int32)), action, params)

    # Each action differs from the one before it: one that was taken before has stuck.
    chosen = np.arange(400)[:, None] % 2 * 2 + np.zeros((1, 10), np.int32)
    steps = play(StickyActions(Long(), probability), chosen)
    taken = steps.info["action"]
    np.testing.assert_array_equal(taken[0], chosen[0])
    assert not steps.done.any()
    stuck = taken[1:] == taken[:-1]
    # An action that stuck is what the next one may be equal to by choice.
    by_choice = chosen[1:] == taken[:-1]
    assert abs(stuck[~by_choice].mean() - probability) < 0.03
    assert stuck[by_choice].all()


def test_the_first_action_of_an_episode_does_not_stick() -> None:
    steps = play(StickyActions(Track(), 1.0), np.where(ACTIONS == 1, 2, 0))
    np.testing.assert_array_equal(steps.done[4], True)
    np.testing.assert_array_equal(steps.info["action"][:5], 0)  # the first sticks for ever
    np.testing.assert_array_equal(steps.info["action"][5:10], 0)
    flipped = play(StickyActions(Track(), 1.0), np.where(np.arange(13) == 5, 2, 0)[:, None] + np.zeros((1, 2), int))
    np.testing.assert_array_equal(flipped.info["action"][5:10], 2)
    np.testing.assert_array_equal(flipped.info["action"][10:], 0)


def test_clip_action() -> None:
    env = ClipAction(Track(Box(-1.0, np.asarray([0.25, 0.5]), (2,))))
    steps = play(env, np.asarray([[[-3.0, 9.0]], [[0.1, 0.2]]], np.float32))
    np.testing.assert_array_equal(steps.info["action"][:, 0], np.asarray([[-1, 0.5], [0.1, 0.2]], np.float32))
    assert env.action_space(None).shape == (2,)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0, 10)])
def test_rescale_action_maps_bounds_to_bounds(bounds: tuple[float, float]) -> None:
    low, high = np.asarray([-1.0, -4.0], np.float32), np.asarray([0.1, 9.0], np.float32)
    env = RescaleAction(Track(Box(low, high, (2,))), bounds)
    space = env.action_space(None)
    assert (space.low, space.high, space.shape) == (*bounds, (2,))
    middle, beyond = (bounds[0] + bounds[1]) / 2, 2 * bounds[1]
    actions = np.asarray([bounds, [middle] * 2, [beyond, middle]], np.float32)[:, None]
    taken = play(env, actions).info["action"][:, 0]
    np.testing.assert_array_equal(taken[0], [low[0], high[1]])  # exactly the bounds, whatever they are
    np.testing.assert_allclose(taken[1:], [(low + high) / 2, [high[0], (low + high)[1] / 2]], rtol=1e-6)


def test_rescale_action_stays_in_a_box_whose_bounds_are_equal() -> None:
    env = RescaleAction(Track(Box(0.1, 0.1, (1,))))
    taken = play(env, np.linspace(-1, 1, 101, dtype=np.float32)[:, None, None]).info["action"]
    np.testing.assert_array_equal(taken, np.float32(0.1))


@pytest.mark.parametrize(
    "space", [Box(-np.inf, 1.0, (2,)), Box(np.asarray([0.0, -np.inf]), 1.0, (2,)), Box(0, 9, (2,), np.int32)]
)
def test_rescale_action_needs_floats_between_bounds(space: Box) -> None:
    with pytest.raises(
        ValueError, match=r"^rescale_action \(\(-1.0, 1.0\)\) needs floats between bounds: the actions of"
    ):
        RescaleAction(Track(space))


def test_flatten_action_numbers_every_combination() -> None:
    env = FlattenAction(Track(MultiDiscrete((2, 3))))
    assert env.action_space(None) == Discrete(6)
    steps = play(env, np.arange(6)[None])
    assert [tuple(a) for a in steps.info["action"][0].tolist()] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    with pytest.raises(ValueError, match=r"^flatten_action \(True\) makes too many actions of"):
        FlattenAction(Track(MultiDiscrete((10,) * 10)))


def test_scale_reward_reports_the_raw_one() -> None:
    steps = play(ScaleReward(ScaleReward(Track(), 10.0), 0.05), ACTIONS)
    np.testing.assert_array_equal(steps.info["raw_reward"], steps.time)
    np.testing.assert_allclose(steps.reward, 0.5 * steps.time)


def test_one_environment_is_transformed_as_a_batch_is() -> None:
    env: Environment = DelayObservation(FrameStack(Track(), 2), 1)
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    observation, state = reset(jax.random.key(0), None)
    np.testing.assert_array_equal(observation[1::2], 0)
    for t in range(1, LIMIT + 1):
        observation, state, _, _, truncated, info = step(jax.random.key(t), state, jnp.asarray(0), None)
        np.testing.assert_array_equal(info["final_observation"][1::2], [max(t - 2, 0), t - 1])
        assert bool(truncated) == (t == LIMIT)
    np.testing.assert_array_equal(observation[1::2], 0)
