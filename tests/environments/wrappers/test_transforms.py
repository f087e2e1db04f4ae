"""What each transform shows, step for step, across the ends of episodes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments.environment import Environment
from memorax.environments.space_images import as_images, image_shape, is_image
from memorax.environments.spaces import (
    Box,
    Dict,
    Discrete,
    MultiDiscrete,
    Space,
    environment_action,
    policy_space,
)
from memorax.environments.wrappers import (
    WRAPPERS,
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
from memorax.environments.wrappers.blank import with_zero
from memorax.environments.wrappers.previous_action_and_reward import chosen_action
from memorax.networks import TORSOS, SpaceEncoder
from tests.catalogue import FEATURES, make_agent
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


class Frames(Track):
    """Observes the steps taken, of an episode that never ends, everywhere in an array, channel `c` plus `c / 8`."""

    def __init__(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> None:
        super().__init__()
        object.__setattr__(self, "space", Box(0, 200, shape, dtype))

    def observe(self, state):
        return jnp.full(self.space.shape, state.steps, self.space.dtype)

    def observation_space(self, params):
        return self.space


@pytest.mark.parametrize(
    ("shape", "stacked"),
    [
        ((3, 84, 84), (9, 84, 84)),
        ((3, 20, 20), (9, 20, 20)),
        ((1, 40, 50), (3, 40, 50)),
        ((4, 10, 10), (10, 10, 12)),  # [12, 10, 10] would be twelve rows
        ((2, 3, 84, 84), (2, 9, 84, 84)),
        ((2, 5, 14, 14), (2, 14, 14, 15)),
        ((84, 84), (84, 84, 3)),
        ((12, 16), (12, 16, 3)),
        ((20, 30, 3), (20, 30, 9)),
        ((2, 20, 30, 3), (2, 20, 30, 9)),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_frames_of_images_are_channels_where_encoders_look_for_them(
    shape: tuple[int, ...], stacked: tuple[int, ...], dtype: Any
) -> None:
    env = FrameStack(Frames(shape, dtype), 3)
    space = env.observation_space(None)
    assert isinstance(space, Box) and (space.shape, space.dtype) == (stacked, dtype)
    assert is_image(space)
    *sides, channels = image_shape(shape)
    assert image_shape(space.shape) == (*sides, 3 * channels)
    steps = play(env, np.zeros((4, 1), np.int32))
    assert steps.observation.shape == (4, 1, *stacked)
    images = as_images(steps.observation, space.shape)[-1, 0]
    assert sorted(np.unique(images)) == [2, 3, 4]
    np.testing.assert_array_equal(np.unique(images[0, 0], return_counts=True)[1], channels)
    np.testing.assert_array_equal(images, np.broadcast_to(images[0, 0], images.shape))


@pytest.mark.parametrize(
    ("shape", "stacked"), [((5,), (15,)), ((5, 6), (5, 18)), ((2, 9, 3), (2, 9, 9)), ((2, 3, 4, 5), (2, 3, 4, 15))]
)
def test_frames_of_what_is_no_image_lie_on_the_last_axis(shape: tuple[int, ...], stacked: tuple[int, ...]) -> None:
    steps = play(FrameStack(Frames(shape), 3), np.zeros((4, 1), np.int32))
    assert steps.observation.shape[2:] == stacked
    last = steps.observation[-1, 0].reshape(-1, stacked[-1])[0]
    np.testing.assert_array_equal(last, np.repeat([2, 3, 4], shape[-1]))


BOXES = {
    "wide": Box(0.0, 1000.0, (2,)),
    "far": Box(20.0, 30.0, (2,)),
    "own": Box(-1.0, 1.0, (2,)),
    "large": Box(-1e37, 1e37, (2,)),
    "without bounds": Box(-np.inf, np.inf, (2,)),
    "from": Box(20.0, np.inf, (2,)),
    "up to": Box(-np.inf, 20.0, (2,)),
    "of each its own": Box(np.asarray([0.0, -np.inf]), np.asarray([10.0, np.inf]), (2,)),
    "integers": Box(0, 1000, (2,), jnp.int32),
    "bytes": Box(0, 255, (2,), jnp.uint8),
}


@pytest.mark.parametrize("name", BOXES)
def test_the_previous_action_is_what_the_policy_chose(name: str) -> None:
    space = BOXES[name]
    chosen = np.asarray(policy_space(space).sample(jax.random.key(1)))
    given = environment_action(space, jnp.asarray(chosen))
    steps = play(PreviousActionAndReward(Track(space)), np.asarray(given)[None, None])
    shown = steps.info["final_observation"]["action"]
    rounding = 1e-5 if jnp.issubdtype(space.dtype, jnp.floating) else 1 / (float(space.high) - 1)
    np.testing.assert_allclose(shown[0, 0], chosen, atol=rounding)
    np.testing.assert_array_equal(steps.first["action"], 0)
    assert shown.dtype == np.float32
    declared = PreviousActionAndReward(Track(space)).observation_space(None).spaces["action"]
    assert isinstance(declared, Box) and declared.dtype == jnp.float32
    assert declared.contains(shown[0, 0]) and declared.contains(jnp.zeros(2))
    np.testing.assert_array_equal(declared.low, policy_space(space).low)
    np.testing.assert_array_equal(declared.high, policy_space(space).high)


def test_a_previous_action_outside_of_its_bounds_is_the_nearest_and_one_that_is_fixed_is_zero() -> None:
    np.testing.assert_array_equal(chosen_action(Box(20.0, 30.0, (2,)), jnp.asarray([-5.0, 31.0])), [-1, 1])
    np.testing.assert_array_equal(chosen_action(Box(0.1, 0.1, (1,)), jnp.asarray([0.1])), 0)
    np.testing.assert_array_equal(chosen_action(Box(0, 1, (2,), bool), jnp.asarray([False, True])), [-1, 1])


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
    space = with_zero(Box(low, high, (2,), dtype))
    assert (space.shape, space.dtype) == ((2,), dtype)
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


INTEGERS = {
    "bytes": Box(0, 255, (6,), jnp.uint8),
    "bytes without bounds": Box(-np.inf, np.inf, (2, 3), jnp.uint8),
    "far from zero": Box(1_700_000_000, 1_700_000_010, (2,), jnp.int32),
    "of each its own": Box(np.asarray([0, -np.inf, 3]), np.asarray([10, np.inf, 3]), (3,), jnp.int32),
    "without bounds": Box(LIMITS.min, LIMITS.max, (2,), jnp.int32),
    "bools": Box(0, 1, (2, 2), bool),
    "one": Box(0, 10, (), jnp.int32),
    "floats": Box(0.0, 255.0, (2,)),
    "halves": Box(0.0, 255.0, (2,), jnp.float16),
    "none": Box(0, 255, (0, 3), jnp.uint8),
    "dictionary": Dict(
        {"picture": Box(0, 255, (6,), jnp.uint8), "kind": Discrete(3), "more": Dict({"of": MultiDiscrete((2, 3))})}
    ),
}


class Sampled(Track):
    """Observes an element of a space, drawn at random."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        object.__setattr__(self, "space", space)

    def observe(self, state):
        return self.space.sample(jax.random.fold_in(jax.random.key(0), state.steps))

    def observation_space(self, params):
        return self.space


@pytest.mark.parametrize("name", INTEGERS)
def test_networks_see_the_same_flattened_and_not(name: str) -> None:
    env = Sampled(Dict({"it": INTEGERS[name], "speed": Box(-np.inf, np.inf, (2,))}))
    flattened = FlattenObservation(env)
    plain, flat = (play(e, ACTIONS[:2]) for e in (env, flattened))
    space = flattened.observation_space(None)
    assert isinstance(space, Box)
    expected = SpaceEncoder(env.observation_space(None)).apply({}, plain.observation)
    np.testing.assert_array_equal(SpaceEncoder(space).apply({}, flat.observation), flat.observation)
    np.testing.assert_allclose(flat.observation, expected, rtol=1e-6)
    assert flat.observation.dtype == np.float32
    assert jax.vmap(jax.vmap(space.contains))(flat.observation).all()


def test_integers_that_are_scaled_say_so() -> None:
    space = FlattenObservation(Sampled(INTEGERS["dictionary"])).observation_space(None)
    assert isinstance(space, Box)
    np.testing.assert_array_equal(space.low, np.zeros(3 + 5 + 6))
    np.testing.assert_array_equal(space.high, np.ones(3 + 5 + 6))
    mixed = FlattenObservation(Sampled(INTEGERS["of each its own"])).observation_space(None)
    assert isinstance(mixed, Box)
    np.testing.assert_array_equal(mixed.low, [0, -np.inf, 0])
    np.testing.assert_array_equal(mixed.high, [1, np.inf, 1])


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


@pytest.mark.parametrize(
    ("box", "low", "high"),
    [
        (Box(-2.0, 5.0), [-2.0], [5.0]),
        (Box(np.asarray([[-1.0], [0.0]]), np.asarray([3.0, np.inf]), (2, 2)), [-1, -1, 0, 0], [3, np.inf, 3, np.inf]),
        (Box(0, 255, (1,), np.uint8), [0], [255]),
    ],
)
def test_flatten_action_makes_a_box_a_vector(box: Box, low: list[float], high: list[float]) -> None:
    env = WRAPPERS["flatten_action"](Track(box), True)
    space = env.action_space(None)
    assert isinstance(space, Box)
    assert (space.shape, space.dtype) == ((len(low),), box.dtype)
    np.testing.assert_array_equal(space.low, low)
    np.testing.assert_array_equal(space.high, high)
    actions = np.arange(3 * len(low)).reshape(3, 1, len(low)).astype(box.dtype)
    taken = play(env, actions).info["action"]
    np.testing.assert_array_equal(taken, actions.reshape(3, 1, *box.shape))


@pytest.mark.parametrize("shape", [(), (2, 2)])
def test_actions_without_an_axis_or_with_several_are_learned_as_a_vector(shape: tuple[int, ...]) -> None:
    env = Track(Box(-2.0, 0.5, shape))
    with pytest.raises(ValueError, match=r"Box with one axis, which flatten_action=True makes of it$"):
        make_agent("ppo", env, None, TORSOS["mlp"](FEATURES))
    agent = make_agent("ppo", WRAPPERS["flatten_action"](env, True), None, TORSOS["mlp"](FEATURES))
    shapes = jax.eval_shape(lambda key: agent.train(*agent.init(key), 32, keep=lambda t, _: t), jax.random.key(0))
    assert shapes[2].action.shape[3:] == (max(1, math.prod(shape)),)


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
