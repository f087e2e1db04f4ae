"""The carts and pendulums against the `popgym` package, whose dynamics are in float64."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.seeding import np_random

from memorax.environments import popgym
from memorax.environments.popgym.cartpole import CartPoleState
from memorax.environments.popgym.pendulum import PendulumState
from memorax.testing import check_close
from tests.environments.popgym.reference import LEVELS, Episode, make_reference

NUM_EPISODES = 10  # of random play, and as many of expert play
EPISODES = [NUM_EPISODES, pytest.param(100, marks=pytest.mark.slow)]
CARTS = ("NoisyPositionOnlyCartPole", "PositionOnlyCartPole", "VelocityOnlyCartPole")
PENDULUMS = ("NoisyPositionOnlyPendulum", "PositionOnlyPendulum")
# Upright, a rod multiplies a rounding error by e every 5 steps, and 100 of them leave 7 of float64's 16 digits.
FLOAT64_STEPS = {"Cart": 200, "Pendulum": 100}


def balance(state: np.ndarray) -> int:
    """Whether the expert, who sees the whole state, pushes to the right."""
    position, velocity, angle, angular_velocity = state
    return int(0.1 * position + 0.3 * velocity + 3.0 * angle + 0.9 * angular_velocity > 0)


def swing_up(state: np.ndarray) -> np.ndarray:
    """The expert's torque: pump energy until the rod is near the top, then hold it there."""
    angle, velocity = (state[0] + np.pi) % (2 * np.pi) - np.pi, state[1]
    if abs(angle) < 0.6:
        torque = -15 * angle - 4 * velocity
    else:
        energy = velocity**2 / 2 + 15 * (np.cos(angle) - 1)
        torque = -2 * np.sign(velocity * energy)
    return np.clip([torque], -2, 2).astype(np.float32)


def record(env: Any, seed: int, play: str) -> tuple[Episode, np.ndarray]:
    """One episode, and the package's float64 states; the draws are the noise, zero where there is none."""
    observation, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    draws, _ = np_random(seed)
    draws.uniform(size=len(env.state))  # the initial state, which comes first
    sigma = getattr(env, "noise_sigma", np.zeros(2))
    expert = balance if len(env.state) == 4 else swing_up
    states, noise, observations, steps = [env.state], [draws.normal(0, sigma)], [observation], []
    while True:
        action = expert(env.state) if play == "expert" else env.action_space.sample()
        observation, reward, terminated, truncated, _ = env.step(action)
        states.append(env.state)
        noise.append(draws.normal(0, sigma))
        observations.append(observation)
        steps.append((action, reward, terminated, truncated))
        if terminated or truncated:
            columns = (np.asarray(column) for column in zip(*steps, strict=True))
            return Episode((states[0],), np.asarray(noise), np.asarray(observations), *columns), np.asarray(states)


@functools.cache
def recorded(id: str, num_episodes: int) -> tuple[list[Episode], list[np.ndarray]]:
    """Episodes of random play, then as many of expert play, and the package's states in each."""
    reference = make_reference(id)
    plays = ["random"] * num_episodes + ["expert"] * num_episodes
    pairs = [record(reference, seed, play) for seed, play in enumerate(plays)]
    return [episode for episode, _ in pairs], [states for _, states in pairs]


def resize(column: np.ndarray, length: int) -> np.ndarray:
    """The column cut to `length`, or filled up with its last entry."""
    return np.concatenate([column[:length], np.repeat(column[-1:], max(length - len(column), 0), axis=0)])


def state_from(values: jax.Array, time: jax.Array) -> Any:
    return (CartPoleState if values.shape[0] == 4 else PendulumState)(*values, time=time)


def values_of(state: Any) -> np.ndarray:
    leaves = [state.angle, state.angular_velocity]
    return np.stack([state.position, state.velocity, *leaves] if isinstance(state, CartPoleState) else leaves, axis=-1)


def wrapped(id: str, states: np.ndarray) -> np.ndarray:
    """The package's states with angles of pendulums in +-pi, as ours has them."""
    if "Cart" in id:
        return states
    return np.stack([(states[:, 0] + np.pi) % (2 * np.pi) - np.pi, states[:, 1]], axis=-1)


def assert_same_state(id: str, ours: np.ndarray, states: np.ndarray) -> None:
    difference = ours - states
    if "Pendulum" in id:  # a full turn is no difference
        difference[:, 0] = (difference[:, 0] + np.pi) % (2 * np.pi) - np.pi
    assert np.all(np.abs(difference) <= 1e-6 + 1e-6 * np.abs(states))


@functools.cache
def compiled_step(task: str) -> Any:
    """One step from given states, for all levels of a task: what differs between them are parameters."""
    env, _ = popgym.make(f"{task}Easy")

    def step(params: Any, values: jax.Array, time: jax.Array, noise: jax.Array, action: jax.Array) -> Any:
        return env.advance(noise, state_from(values, time), action, params)

    return jax.jit(jax.vmap(step, in_axes=(None, 0, 0, 0, 0)))


@functools.cache
def compiled_episode(task: str) -> Any:
    """Observations `[N, T + 1, 2]`, rewards and ends `[N, T]` from initial values on, for all levels of a task."""
    env, _ = popgym.make(f"{task}Easy")

    def run(params: Any, values: jax.Array, noise: jax.Array, actions: jax.Array) -> tuple[jax.Array, ...]:
        first, state = env.start(noise[0], values, params)

        def step(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, tuple[jax.Array, ...]]:
            observation, state, reward, terminated, truncated, _ = env.advance(inputs[0], state, inputs[1], params)
            return state, (observation, reward, terminated, truncated)

        _, (observations, *rest) = jax.lax.scan(step, state, (noise[1:], actions))
        return jnp.concatenate([first[None], observations]), *rest

    return jax.jit(jax.vmap(run, in_axes=(None, 0, 0, 0)))


def assert_same_ends(episode: Episode, steps: int, rewards: Any, terminated: Any, truncated: Any) -> None:
    """Rewards and both ends are those of the package; of two ends at once the failure is kept."""
    np.testing.assert_allclose(rewards[:steps], episode.rewards[:steps], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(terminated[:steps], episode.terminated[:steps])
    np.testing.assert_array_equal(truncated[:steps], (episode.truncated & ~episode.terminated)[:steps])


@pytest.mark.parametrize("num_episodes", EPISODES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("task", CARTS + PENDULUMS)
def test_steps_equal_the_package(task: str, level: str, num_episodes: int) -> None:
    """Each step from the package's state: free of it, a pole multiplies a rounding error by e every 13 steps."""
    id = f"{task}{level}"
    episodes, states = recorded(id, num_episodes)
    _, params = popgym.make(id)
    lengths = np.asarray([episode.length for episode in episodes])
    total = lengths.sum()
    inputs = (
        np.concatenate([wrapped(id, s[:-1]) for s in states]).astype(np.float32),
        np.concatenate([np.arange(length) for length in lengths]),
        np.concatenate([e.draws[1:] for e in episodes]).astype(np.float32),
        np.concatenate([e.actions for e in episodes]),
    )
    # One size for all levels, so that they share what is compiled.
    room = 2 * num_episodes * 600
    results = compiled_step(task)(params, *(jnp.asarray(resize(column, room)) for column in inputs))
    observations, state, *ends, _ = jax.tree.map(lambda x: np.asarray(x)[:total], results)
    check_close(observations, np.concatenate([e.observations[1:] for e in episodes]), 1e-6)
    assert_same_state(id, values_of(state), np.concatenate([s[1:] for s in states]))
    pieces = (np.split(leaf, np.cumsum(lengths)[:-1]) for leaf in ends)
    for episode, *ours in zip(episodes, *pieces, strict=True):
        assert_same_ends(episode, episode.length, *ours)


@pytest.mark.parametrize("num_episodes", EPISODES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("task", CARTS + PENDULUMS)
def test_episodes_equal_the_package_in_float64(task: str, level: str, num_episodes: int) -> None:
    """The first steps on end, with nothing taken from the package but its draws and the actions."""
    id = f"{task}{level}"
    most = FLOAT64_STEPS["Cart" if task in CARTS else "Pendulum"]
    episodes, states = recorded(id, num_episodes)
    _, params = popgym.make(id)
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, params)
        values = jnp.asarray(np.stack([s[0] for s in states]))
        noise = jnp.asarray(np.stack([resize(e.draws, most + 1) for e in episodes]))
        actions = jnp.asarray(np.stack([resize(e.actions, most) for e in episodes]))
        replayed = compiled_episode(task)(params, values, noise, actions)
    for episode, observations, *ends in zip(episodes, *map(np.asarray, replayed), strict=True):
        steps = min(episode.length, most)
        check_close(observations[: steps + 1], episode.observations[: steps + 1], 1e-6)
        assert_same_ends(episode, steps, *ends)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("task", CARTS)
def test_the_best_cart_lasts_until_the_time_limit(task: str, level: str) -> None:
    _, params = popgym.make(f"{task}{level}")
    for episode in recorded(f"{task}{level}", NUM_EPISODES)[0][NUM_EPISODES:]:
        assert episode.length == params.max_episode_length
        assert not episode.terminated.any()
        assert episode.rewards.sum() == pytest.approx(1)


def test_the_expert_brings_pendulums_to_rest_upright() -> None:
    returns = [
        episode.rewards.sum() for episode in recorded("PositionOnlyPendulumEasy", NUM_EPISODES)[0][NUM_EPISODES:]
    ]
    assert min(returns) > 0 and np.mean(returns) > 0.7
    last = [states[-1] for states in recorded("PositionOnlyPendulumEasy", NUM_EPISODES)[1][NUM_EPISODES:]]
    assert np.abs(np.cos(np.asarray(last)[:, 0]) - 1).max() < 0.01


@pytest.mark.parametrize("task", CARTS)
def test_a_fall_is_terminated_and_wins_over_the_time_limit(task: str) -> None:
    env, params = popgym.make(f"{task}Easy", max_episode_length=10)
    state = CartPoleState(*jnp.asarray([0.0, 0.0, 0.2, 2.0]), time=jnp.asarray(9))
    _, after, reward, terminated, truncated, _ = jax.jit(env.step_env)(jax.random.key(0), state, jnp.asarray(1), params)
    assert int(after.time) == 10
    assert bool(terminated) and not bool(truncated)
    assert float(reward) == pytest.approx(0.1)


def test_pendulums_only_ever_truncate() -> None:
    env, params = popgym.make("PositionOnlyPendulumEasy", max_episode_length=10)
    state = PendulumState(*jnp.asarray([3.0, 8.0]), time=jnp.asarray(9))
    _, _, reward, terminated, truncated, _ = jax.jit(env.step_env)(None, state, jnp.asarray([2.0]), params)
    assert bool(truncated) and not bool(terminated)
    assert float(reward) == pytest.approx((1 - 2 * (9 + 6.4 + 0.004) / 16.2736044) / 10, abs=1e-6)


def test_cart_starts_and_noise_have_the_package_distribution() -> None:
    env, params = popgym.make("NoisyPositionOnlyCartPoleHard")
    observation, state = jax.jit(env.vectorize(50_000).reset)(jax.random.key(0), params)
    hidden = values_of(state)
    assert np.abs(hidden).max() <= 0.05
    np.testing.assert_allclose(hidden.std(axis=0), 0.1 / np.sqrt(12), rtol=0.02)
    noise = np.asarray(observation)[:, 0] - hidden[:, 0]  # positions are too far from their bounds to be clipped
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert np.abs(observation[:, 1]).max() == pytest.approx(24 * 2 * np.pi / 360)  # angles are clipped


def test_pendulum_starts_and_noise_have_the_package_distribution() -> None:
    env, params = popgym.make("NoisyPositionOnlyPendulumMedium")
    observation, state = jax.jit(env.vectorize(50_000).reset)(jax.random.key(0), params)
    hidden = values_of(state)
    assert (np.abs(hidden).max(axis=0) <= (np.pi, 1)).all()
    np.testing.assert_allclose(hidden.std(axis=0), np.asarray([2 * np.pi, 2]) / np.sqrt(12), rtol=0.02)
    central = np.abs(np.cos(hidden[:, 0])) < 0.2  # four standard deviations from being clipped
    noise = np.asarray(observation)[central, 0] - np.cos(hidden[central, 0])
    assert noise.std() == pytest.approx(0.2, rel=0.03)
    assert np.abs(observation).max() == 1
