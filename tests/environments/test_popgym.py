"""The popgym tasks against the `popgym` package, on the package's own draws."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import popgym.envs.noisy_position_only_cartpole as noisy_reference
import popgym.envs.position_only_cartpole as cartpole_reference
import popgym.envs.repeat_first as repeat_first_reference
import popgym.envs.repeat_previous as repeat_previous_reference
import pytest

import memorax.environments as environments
from memorax.environments.popgym import ids, make
from memorax.environments.popgym.cartpole import CartPoleState
from memorax.environments.popgym.deck import draw_card, full_deck, remove_card

NUM_EPISODES = 100
CARDS = [id for id in ids() if id.startswith("Repeat")]
CARTPOLES = [id for id in ids() if "CartPole" in id]
LEVELS = ("Easy", "Medium", "Hard")
PLAYS = ("random", "expert")

REFERENCES = {
    f"{task}{level}": getattr(module, f"{task}{level}")
    for task, module in {
        "NoisyPositionOnlyCartPole": noisy_reference,
        "PositionOnlyCartPole": cartpole_reference,
        "RepeatFirst": repeat_first_reference,
        "RepeatPrevious": repeat_previous_reference,
    }.items()
    for level in LEVELS
}


@dataclass
class Episode:
    """What the package drew and what it returned: `draws` and `observations` have one entry more than the rest."""

    draws: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


def finish(draws: Any, observations: list[Any], steps: list[tuple[Any, float, bool, bool]]) -> Episode:
    actions, rewards, terminated, truncated = (np.asarray(column) for column in zip(*steps, strict=True))
    return Episode(np.asarray(draws), np.asarray(observations), actions, rewards, terminated, truncated)


def play_cards(env: Any, seed: int, play: str) -> Episode:
    """One episode of a card task; the expert names the card that is asked for."""
    observation, _ = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    suits = env.deck.suits_idx[env.deck.idx[::-1]]  # cards are dealt from the end of the deck
    observations, steps = [observation], []
    while True:
        asked = 0 if isinstance(env, repeat_first_reference.RepeatFirst) else max(len(steps) + 1 - env.k, 0)
        action = int(suits[asked]) if play == "expert" else int(rng.integers(4))
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        steps.append((action, reward, terminated, truncated))
        if terminated or truncated:
            return finish(suits, observations, steps)


def balance(position: Any, velocity: Any, angle: Any, angular_velocity: Any) -> Any:
    """Whether the expert, who sees the whole state, pushes to the right."""
    return 0.1 * position + 0.3 * velocity + 3.0 * angle + 0.9 * angular_velocity > 0


def play_cartpole(env: Any, seed: int, play: str) -> tuple[Episode, np.ndarray]:
    """One episode of a cart task, and the package's float64 states; `draws` is the noise, zero where there is none."""
    observation, _ = env.reset(seed=seed)
    draws, _ = gymnasium.utils.seeding.np_random(seed)
    draws.uniform(-0.05, 0.05, 4)  # the initial state, which comes first
    sigma = getattr(env, "noise_sigma", np.zeros(2))
    rng = np.random.default_rng(seed)
    states, noise, observations, steps = [env.state], [draws.normal(0, sigma)], [observation], []
    while True:
        action = int(balance(*env.state)) if play == "expert" else int(rng.integers(2))
        observation, reward, terminated, truncated, _ = env.step(action)
        states.append(env.state)
        noise.append(draws.normal(0, sigma))
        observations.append(observation)
        steps.append((action, reward, terminated, truncated))
        if terminated or truncated:
            return finish(noise, observations, steps), np.asarray(states)


@functools.cache
def play_cartpole_episodes(id: str, play: str) -> tuple[list[Episode], list[np.ndarray]]:
    """Episodes of a cart task, and the package's states in each."""
    reference = REFERENCES[id]()
    played = [play_cartpole(reference, seed, play) for seed in range(NUM_EPISODES)]
    return [episode for episode, _ in played], [states for _, states in played]


def first_steps(episode: Episode, steps: int) -> Episode:
    """The episode as far as its first `steps` steps."""
    return Episode(
        episode.draws[: steps + 1],
        episode.observations[: steps + 1],
        *(column[:steps] for column in (episode.actions, episode.rewards, episode.terminated, episode.truncated)),
    )


def resize(column: np.ndarray, length: int) -> np.ndarray:
    """The column cut to `length`, or filled up with its last entry."""
    return np.concatenate([column[:length], np.repeat(column[-1:], max(length - len(column), 0), axis=0)])


def assert_same_ends(episode: Episode, rewards: Any, terminated: Any, truncated: Any) -> None:
    """Rewards and both ends are those of the package; of two ends at once the failure is kept."""
    np.testing.assert_allclose(rewards, episode.rewards, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(terminated, episode.terminated)
    np.testing.assert_array_equal(truncated, episode.truncated & ~episode.terminated)


@pytest.mark.parametrize("play", PLAYS)
@pytest.mark.parametrize("id", CARDS)
def test_card_tasks_equal_the_package(id: str, play: str) -> None:
    reference = REFERENCES[id]()
    episodes = [play_cards(reference, seed, play) for seed in range(NUM_EPISODES)]
    env, params = make(id)

    def replay(suits: jax.Array, actions: jax.Array) -> tuple[jax.Array, ...]:
        first, state = env.deal_first(suits[0], params)

        def step(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, tuple[jax.Array, ...]]:
            suit, action = inputs
            observation, state, reward, terminated, truncated, _ = env.deal_next(suit, state, action, params)
            return state, (observation, reward, terminated, truncated)

        _, (observations, *rest) = jax.lax.scan(step, state, (suits[1:], actions))
        return jnp.concatenate([first[None], observations]), *rest

    suits = jnp.asarray(np.stack([e.draws for e in episodes]), jnp.int32)
    actions = jnp.asarray(np.stack([e.actions for e in episodes]), jnp.int32)
    replayed = [np.asarray(leaf) for leaf in jax.jit(jax.vmap(replay))(suits, actions)]
    for episode, observations, rewards, terminated, truncated in zip(episodes, *replayed, strict=True):
        np.testing.assert_array_equal(observations, episode.observations)
        assert_same_ends(episode, rewards, terminated, truncated)
        if play == "expert":
            assert np.sum(rewards) == pytest.approx(1.0, abs=1e-4)


def replay_cartpole(env: Any, params: Any, values: jax.Array, noise: jax.Array, actions: jax.Array) -> tuple[Any, ...]:
    """Observations, rewards and ends from `values` on, and the states behind them."""
    noisy = "noise_sigma" in vars(params)
    first, state = env.start(values, noise[0]) if noisy else env.start(values)

    def step(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, tuple[jax.Array, ...]]:
        drawn, action = inputs
        result = env.advance(drawn, state, action, params) if noisy else env.step_env(None, state, action, params)
        observation, state, reward, terminated, truncated, _ = result
        return state, (observation, reward, terminated, truncated)

    _, (observations, *rest) = jax.lax.scan(step, state, (noise[1:], actions))
    return jnp.concatenate([first[None], observations]), *rest


@pytest.mark.parametrize("play", PLAYS)
@pytest.mark.parametrize("id", CARTPOLES)
def test_steps_of_cartpole_tasks_equal_the_package(id: str, play: str) -> None:
    """Each step from the package's state: free of it, a pole multiplies a rounding error by e every 13 steps."""
    episodes, states = play_cartpole_episodes(id, play)
    env, params = make(id)

    def step(before: jax.Array, time: jax.Array, noise: jax.Array, action: jax.Array) -> tuple[Any, ...]:
        state = CartPoleState(*before, time=time)
        if "noise_sigma" in vars(params):
            return env.advance(noise, state, action, params)
        return env.step_env(None, state, action, params)

    lengths = np.asarray([len(episode.actions) for episode in episodes])
    results = jax.jit(jax.vmap(step))(
        jnp.asarray(np.concatenate([s[:-1] for s in states]), jnp.float32),
        jnp.asarray(np.concatenate([np.arange(length) for length in lengths])),
        jnp.asarray(np.concatenate([e.draws[1:] for e in episodes]), jnp.float32),
        jnp.asarray(np.concatenate([e.actions for e in episodes])),
    )
    observations, state, rewards, terminated, truncated, _ = jax.tree.map(np.asarray, results)
    np.testing.assert_allclose(observations, np.concatenate([e.observations[1:] for e in episodes]), rtol=0, atol=1e-6)
    after = np.stack([state.position, state.velocity, state.angle, state.angular_velocity], axis=-1)
    np.testing.assert_allclose(after, np.concatenate([s[1:] for s in states]), rtol=1e-6, atol=1e-6)
    ends = np.cumsum(lengths)[:-1]
    for episode, *ours in zip(
        episodes, *(np.split(leaf, ends) for leaf in (rewards, terminated, truncated)), strict=True
    ):
        assert_same_ends(episode, *ours)
    if play == "expert":  # it lasts until the time limit
        assert (lengths == params.max_episode_length).all()
        assert not np.any(terminated)


@pytest.mark.parametrize("play", PLAYS)
@pytest.mark.parametrize("id", CARTPOLES)
def test_episodes_of_cartpole_tasks_equal_the_package_in_float64(id: str, play: str) -> None:
    """Up to 200 steps on end, with nothing taken from the package but its draws and the actions."""
    episodes, states = play_cartpole_episodes(id, play)
    env, params = make(id)
    with jax.enable_x64(True):
        values = jnp.asarray(np.stack([s[0] for s in states]))
        noise = jnp.asarray(np.stack([resize(e.draws, 201) for e in episodes]))
        actions = jnp.asarray(np.stack([resize(e.actions, 200) for e in episodes]))
        replayed = jax.jit(jax.vmap(lambda v, n, a: replay_cartpole(env, params, v, n, a)))(values, noise, actions)
    for episode, observations, rewards, terminated, truncated in zip(episodes, *map(np.asarray, replayed), strict=True):
        steps = min(len(episode.actions), 200)
        np.testing.assert_allclose(observations[: steps + 1], episode.observations[:201], rtol=0, atol=1e-6)
        assert_same_ends(first_steps(episode, 200), rewards[:steps], terminated[:steps], truncated[:steps])


@pytest.mark.parametrize("id", ids())
def test_spaces_are_those_of_the_package(id: str) -> None:
    env, params = make(id)
    reference = REFERENCES[id]()
    assert env.action_space(params).n == reference.action_space.n
    space = env.observation_space(params)
    if id in CARDS:
        assert space.n == reference.observation_space.n
        return
    assert space.shape == reference.observation_space.shape
    np.testing.assert_array_equal(space.low, reference.observation_space.low)
    np.testing.assert_array_equal(space.high, reference.observation_space.high)
    assert space.dtype == reference.observation_space.dtype


@pytest.mark.parametrize("id", [id for id in ids() if id.endswith("Easy")])
def test_observations_lie_in_their_space(id: str) -> None:
    env, params = make(id)
    space, actions = env.observation_space(params), env.action_space(params)

    def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        step_key, action_key = jax.random.split(key)
        observation, state, *_ = env.step(step_key, state, actions.sample(action_key), params)
        assert observation.dtype == space.dtype
        return state, space.contains(observation)

    def play(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        observation, state = env.reset(key, params)
        return space.contains(observation), jax.lax.scan(step, state, jax.random.split(key, 300))[1]

    first, later = jax.jit(play)(jax.random.key(0))
    assert bool(first) and bool(later.all())


@pytest.mark.parametrize("id", [id for id in ids() if id.endswith("Easy") and id in CARDS])
def test_an_episode_deals_the_whole_deck(id: str) -> None:
    env, params = make(id, num_decks=2)
    batch = env.vectorize(5)

    def step(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        _, state, _, terminated, _, info = batch.step(key, state, jnp.zeros((5,), jnp.int32), params)
        return state, (info["final_observation"], terminated)

    def play(key: jax.Array) -> tuple[jax.Array, ...]:
        reset_key, step_key = jax.random.split(key)
        observation, state = batch.reset(reset_key, params)
        return observation, *jax.lax.scan(step, state, jax.random.split(step_key, 103))[1]

    observation, dealt, terminated = jax.jit(play)(jax.random.key(0))
    cards = np.concatenate([np.asarray(observation)[None], np.asarray(dealt)])
    np.testing.assert_array_equal(np.stack([(cards == suit).sum(0) for suit in range(4)]), 26)
    np.testing.assert_array_equal(terminated[:-1], False)
    np.testing.assert_array_equal(terminated[-1], True)


def test_cards_are_drawn_as_often_as_they_are_left() -> None:
    keys = jax.random.split(jax.random.key(0), 100_000)
    deck = jnp.asarray([6, 0, 3, 1])
    counts = np.bincount(jax.jit(jax.vmap(draw_card, (0, None)))(keys, deck), minlength=4)
    expected = np.asarray([0.6, 0.0, 0.3, 0.1])
    assert counts[1] == 0
    # Four standard deviations of a binomial proportion.
    np.testing.assert_allclose(counts / 100_000, expected, atol=4 * np.sqrt(0.25 / 100_000))


def test_consecutive_cards_are_drawn_without_replacement() -> None:
    def pair(key: jax.Array) -> jax.Array:
        first_key, second_key = jax.random.split(key)
        first = draw_card(first_key, full_deck(1))
        return first == draw_card(second_key, remove_card(full_deck(1), first))

    same = jax.jit(jax.vmap(pair))(jax.random.split(jax.random.key(0), 100_000))
    assert float(same.mean()) == pytest.approx(12 / 51, abs=4 * np.sqrt(0.25 / 100_000))


def test_cartpole_starts_and_noise_have_the_package_distribution() -> None:
    env, params = environments.make("popgym::NoisyPositionOnlyCartPoleHard")
    observation, state = jax.jit(env.vectorize(50_000).reset)(jax.random.key(0), params)
    hidden = np.stack([state.position, state.velocity, state.angle, state.angular_velocity])
    assert np.abs(hidden).max() <= 0.05
    np.testing.assert_allclose(hidden.std(axis=1), 0.1 / np.sqrt(12), rtol=0.02)
    noise = np.asarray(observation)[:, 0] - hidden[0]  # positions are too far from their bounds to be clipped
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert np.abs(observation[:, 1]).max() == pytest.approx(24 * 2 * np.pi / 360)  # angles are clipped


@pytest.mark.parametrize("id", CARTPOLES)
def test_a_fall_is_terminated_and_wins_over_the_time_limit(id: str) -> None:
    env, params = make(id, max_episode_length=10)
    state = CartPoleState(*jnp.asarray([0.0, 0.0, 0.2, 2.0]), time=jnp.asarray(9))
    _, after, reward, terminated, truncated, _ = jax.jit(env.step_env)(jax.random.key(0), state, jnp.asarray(1), params)
    assert int(after.time) == 10
    assert bool(terminated) and not bool(truncated)
    assert float(reward) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("id", "settings", "message"),
    [
        ("RepeatFirstEasy", {"num_decks": 0}, r"num_decks \(0\) must be a positive integer"),
        ("RepeatFirstEasy", {"num_decks": "two"}, r"num_decks \('two'\) must be a positive integer"),
        ("RepeatPreviousEasy", {"num_decks": -1}, r"num_decks \(-1\) must be a positive integer"),
        ("RepeatPreviousEasy", {"k": 52}, r"k \(52\) must be an integer from 1 to 52 \* num_decks - 1 \(51\)"),
        ("RepeatPreviousEasy", {"k": 0}, r"k \(0\) must be"),
        ("PositionOnlyCartPoleEasy", {"max_episode_length": 0}, r"max_episode_length \(0\) must be a positive integer"),
        ("NoisyPositionOnlyCartPoleEasy", {"max_episode_length": 1.5}, r"max_episode_length \(1.5\) must be"),
        ("NoisyPositionOnlyCartPoleEasy", {"noise_sigma": -0.1}, r"noise_sigma \(-0.1\) must be"),
    ],
)
def test_settings_are_checked(id: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(id, **settings)


def test_settings_replace_those_of_the_level() -> None:
    env, params = make("RepeatPreviousMedium", k=3)
    assert env.k == 3
    assert params.num_decks == 2
    env, params = make("NoisyPositionOnlyCartPoleHard", max_episode_length=50)
    assert params.noise_sigma == 0.3
    assert params.max_episode_length == 50
