"""The gymnax adapter: every environment fits its spaces, and time limits are told apart in both generations."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import spaces as gymnax_spaces

from memorax.environments import make
from memorax.environments.gymnax import GymnaxEnvironment, ids
from memorax.environments.spaces import Box, Dict, Discrete
from memorax.testing import check_environment

# MNISTBandit downloads its images when it is made; SimpleBandit mixes up the fields of its state before 1.0.
BROKEN = ["MNISTBandit-bsuite"] + (["SimpleBandit-bsuite"] if version("gymnax").startswith("0.") else [])
OFFLINE = [id for id in ids() if id not in BROKEN]
SOME = [id for id in OFFLINE if id.startswith(("CartPole", "Pendulum", "Catch", "FourRooms", "FrozenLake"))]
CARTPOLE = "gymnax::CartPole-v1"


def shape_and_type(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, jnp.dtype(leaf.dtype)), tree)


def test_ids_are_those_of_gymnax() -> None:
    assert ids() == gymnax.registered_envs
    assert len(ids()) >= 24


@pytest.mark.parametrize("id", OFFLINE)
def test_every_environment_fits_its_spaces(id: str) -> None:
    env, params = make(f"gymnax::{id}")
    key = jax.random.key(0)
    space = env.observation_space(params)
    action = jax.eval_shape(env.action_space(params).sample, key)
    observation, state = jax.eval_shape(env.reset, key, params)
    after = jax.eval_shape(env.step, key, state, action, params)
    assert observation.shape == after[0].shape == after[5]["final_observation"].shape == space.shape
    assert observation.dtype == after[0].dtype == after[5]["final_observation"].dtype == jnp.dtype(space.dtype)
    assert shape_and_type(after[1]) == shape_and_type(state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((state, after[1])))
    assert (after[2].shape, after[2].dtype) == ((), jnp.float32)
    assert [(end.shape, end.dtype) for end in after[3:5]] == [((), jnp.bool_)] * 2
    assert "discount" not in after[5]


@pytest.mark.parametrize("id", SOME)
def test_a_rollout_stays_in_its_spaces(id: str) -> None:
    env, params = make(f"gymnax::{id}", max_steps_in_episode=20)
    batch = env.vectorize(4)
    observations, actions = env.observation_space(params), env.action_space(params)
    _, state = jax.jit(batch.reset)(jax.random.key(0), params)

    def step(state: Any, key: jax.Array) -> tuple[Any, Any]:
        step_key, action_key = jax.random.split(key)
        action = jax.vmap(actions.sample)(jax.random.split(action_key, 4))
        observation, state, _, terminated, truncated, _ = batch.step(step_key, state, action, params)
        return state, (jax.vmap(observations.contains)(observation), terminated, truncated)

    rollout = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys)[1])
    inside, terminated, truncated = rollout(state, jax.random.split(jax.random.key(1), 60))
    assert bool(inside.all())
    assert bool((terminated | truncated).any())
    assert not bool((terminated & truncated).any())


@struct.dataclass
class OldState:
    time: int
    height: jax.Array


@struct.dataclass
class OldParams:
    floor: float = 0.0
    max_steps_in_episode: int = 5


class OldLift:
    """An environment as gymnax before 1.0 writes them: five values, and a `done` that the time limit sets too.

    Action 1 lifts by one, action 0 lowers by one; below the floor the episode is lost. The observation shows how
    much of the time limit is used up, so that it changes if an adapter changes the limit.
    """

    name = "OldLift"

    def __init__(self, start: float = 1.0) -> None:
        self.start = start

    @property
    def default_params(self) -> OldParams:
        return OldParams()

    def reset_env(self, key: jax.Array, params: OldParams) -> tuple[jax.Array, OldState]:
        state = OldState(time=0, height=self.start + 0.1 * jax.random.uniform(key))
        return self.observe(state, params), state

    def step_env(self, key: jax.Array, state: OldState, action: jax.Array, params: OldParams) -> tuple[Any, ...]:
        state = OldState(time=state.time + 1, height=state.height + 2.0 * action - 1.0)
        done = (state.height < params.floor) | (state.time >= params.max_steps_in_episode)
        return self.observe(state, params), state, 1, done, {"discount": 1.0 - done}

    def observe(self, state: OldState, params: OldParams) -> jax.Array:
        return jnp.asarray([state.height, state.time / params.max_steps_in_episode])

    def observation_space(self, params: OldParams) -> gymnax_spaces.Box:
        return gymnax_spaces.Box(-jnp.finfo(jnp.float32).max, jnp.finfo(jnp.float32).max, (2,))

    def action_space(self, params: OldParams) -> gymnax_spaces.Discrete:
        return gymnax_spaces.Discrete(2)


def lift(**changes: Any) -> tuple[GymnaxEnvironment, OldParams]:
    params = OldParams(**changes)
    return GymnaxEnvironment(OldLift(), params), params


@pytest.mark.parametrize(
    ("time", "height", "terminated", "truncated"),
    [(2, 3.0, False, False), (2, 0.5, True, False), (4, 3.0, False, True), (4, 0.5, True, False)],
    ids=["neither", "lost", "time limit", "lost at the time limit"],
)
def test_the_old_generation_tells_time_limits_apart(
    time: int, height: float, terminated: bool, truncated: bool
) -> None:
    env, params = lift()
    _, state = jax.jit(env.reset)(jax.random.key(0), params)
    state = state.replace(time=jnp.asarray(time, jnp.int32), height=jnp.asarray(height))
    observation, after, reward, *ends, info = jax.jit(env.step)(jax.random.key(1), state, jnp.asarray(0), params)
    assert [bool(end) for end in ends] == [terminated, truncated]
    assert float(reward) == 1.0 and reward.dtype == jnp.float32
    np.testing.assert_allclose(info["final_observation"], [height - 1, (time + 1) / 5], rtol=1e-6)
    assert list(info) == ["final_observation"]
    if terminated or truncated:
        assert int(after.time) == 0
        assert float(after.height) != float(state.height)
        np.testing.assert_allclose(observation, [after.height, 0.0])
    else:
        np.testing.assert_array_equal(observation, info["final_observation"])


@pytest.mark.parametrize("of", [OldLift(start=2.0), f"{__name__}:OldLift"], ids=["itself", "its name"])
def test_an_environment_of_ones_own_is_made_from_itself_or_by_its_name(of: Any) -> None:
    options = {"start": 2.0} if isinstance(of, str) else {}
    env, params = make(of, max_steps_in_episode=3, mask_observation=(0,), **options)
    assert (params, env.env.env.start) == (OldParams(max_steps_in_episode=3), 2.0)
    assert env.observation_space(params).shape == (1,)
    check_environment(env, params, num_steps=20)
    with pytest.raises(
        ValueError, match=r"OldLift'? has no option 'flor': did you mean 'floor'\? \(valid: .*floor"
    ) as raised:
        make(of, flor=1.0)
    assert ("start;" in str(raised.value)) == isinstance(of, str)


def test_the_old_generation_keeps_one_type_for_its_state() -> None:
    env, params = lift(max_steps_in_episode=3)
    batch = env.vectorize(2)
    _, state = jax.jit(batch.reset)(jax.random.key(0), params)

    def step(state: Any, key: jax.Array) -> tuple[Any, Any]:
        _, state, _, terminated, truncated, _ = batch.step(key, state, jnp.ones((2,), jnp.int32), params)
        return state, (terminated, truncated)

    keys = jax.random.split(jax.random.key(0), 7)
    _, (terminated, truncated) = jax.jit(lambda: jax.lax.scan(step, state, keys))()
    assert not bool(terminated.any())
    assert truncated[:, 0].tolist() == [False, False, True] * 2 + [False]


def balance(observation: jax.Array) -> jax.Array:
    """Keeps a pole upright and a cart near the middle."""
    return (observation @ jnp.asarray([0.1, 0.3, 3.0, 0.9]) > 0).astype(jnp.int32)


@pytest.mark.parametrize("generation", ["new", "old"])
def test_cartpole_tells_its_time_limit_from_a_fall(generation: str) -> None:
    inner, params = gymnax.make("CartPole-v1")
    env = GymnaxEnvironment(Merged(inner) if generation == "old" else inner, params)
    first, state = jax.jit(env.reset)(jax.random.key(0), params)

    def play(policy: Any) -> Any:
        def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
            observation, state = carry
            observation, state, _, terminated, truncated, info = env.step(key, state, policy(observation), params)
            return (observation, state), (observation, terminated, truncated, info["final_observation"], state)

        keys = jax.random.split(jax.random.key(1), 501)
        return jax.jit(lambda: jax.lax.scan(step, (first, state), keys)[1])()

    observation, terminated, truncated, final, after = play(balance)
    assert not bool(terminated.any())
    assert np.flatnonzero(truncated).tolist() == [499]
    assert int(after.time[499]) == 0
    assert float(jnp.abs(observation[499]).max()) <= 0.05  # the first observation of the next episode
    assert float(jnp.abs(final[499] - observation[499]).max()) > 0
    np.testing.assert_array_equal(observation[498], final[498])

    observation, terminated, truncated, final, after = play(lambda observation: jnp.asarray(1))
    fall = int(np.flatnonzero(terminated)[0])
    assert fall < 20 and not bool(truncated.any())
    assert abs(float(final[fall, 2])) > 12 * 2 * np.pi / 360
    assert float(jnp.abs(observation[fall]).max()) <= 0.05
    assert int(after.time[fall]) == 0


class Merged:
    """CartPole as releases before 1.0 had it: the time limit sets `done`."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.name, self.reset_env = env.name, env.reset_env
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def step_env(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        observation, state, reward, done, info = self.env.step_env(key, state, action, params)
        return observation, state, reward, done | (state.time >= params.max_steps_in_episode), info


def test_a_fall_at_the_time_limit_is_a_fall() -> None:
    env, params = make(CARTPOLE)
    _, state = jax.jit(env.reset)(jax.random.key(0), params)
    state = state.replace(time=jnp.asarray(499, jnp.int32), theta=jnp.asarray(0.5))
    _, _, _, terminated, truncated, _ = jax.jit(env.step_env)(jax.random.key(1), state, jnp.asarray(1), params)
    assert bool(terminated) and not bool(truncated)


def test_settings_reach_the_parameters_and_the_constructor() -> None:
    _, params = make(CARTPOLE, max_steps_in_episode=7, gravity=5.0)
    assert (params.max_steps_in_episode, params.gravity) == (7, 5.0)
    env, params = make("gymnax::DeepSea-bsuite", size=5)
    assert env.observation_space(params).shape == (5, 5)
    with pytest.raises(ValueError, match=r"^gravity \('down'\) of gymnax::CartPole-v1 must be a number or an array$"):
        make(CARTPOLE, gravity="down")


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_offline(id: str) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(gymnax, "make", make_offline)
    with pytest.raises(OSError, match=r"^gymnax::MNISTBandit-bsuite downloads its data when it is made, and could not"):
        make("gymnax::MNISTBandit-bsuite")


class Spaced(OldLift):
    """An environment with whatever spaces it is given."""

    def __init__(self, space: Any) -> None:
        super().__init__()
        self.space = space

    def observation_space(self, params: OldParams) -> Any:
        return self.space

    def observe(self, state: OldState, params: OldParams) -> Any:
        return {"image": jnp.ones((2, 2)), "goal": jnp.asarray(3.0)}


def test_a_dict_space_becomes_ours() -> None:
    inner = gymnax_spaces.Dict({"image": gymnax_spaces.Box(0, 1, (2, 2)), "goal": gymnax_spaces.Discrete(4)})
    env = GymnaxEnvironment(Spaced(inner), OldParams())
    space = env.observation_space(OldParams())
    assert isinstance(space, Dict)
    assert isinstance(space.spaces["image"], Box) and space.spaces["goal"] == Discrete(4)
    observation, _ = jax.jit(env.reset)(jax.random.key(0), OldParams())
    assert bool(space.contains(observation))
    assert observation["goal"].dtype == jnp.int32


def test_the_largest_float_is_read_as_unbounded() -> None:
    env, params = make(CARTPOLE)
    space = env.observation_space(params)
    np.testing.assert_array_equal(np.isinf(space.high), [False, True, False, True])
    np.testing.assert_array_equal(space.low, -np.asarray(space.high))


def test_a_space_that_is_not_supported_is_refused() -> None:
    with pytest.raises(ValueError, match="gymnax::OldLift has a space that is not supported: Tuple"):
        GymnaxEnvironment(Spaced(gymnax_spaces.Tuple([gymnax_spaces.Discrete(2)])), OldParams())
