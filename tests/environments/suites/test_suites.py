"""Every suite keeps the protocol, and tells time limits from ends."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.environments import Environment, make
from memorax.environments.make import load
from memorax.testing import check_environment
from tests.environments.suites.cases import CASES, RANDOM, End

IDS = [(suite, id) for suite, case in CASES.items() for id in case.ids]
MOST_STEPS = 600


@pytest.mark.parametrize(("suite", "id"), IDS, ids=["::".join(names) for names in IDS])
def test_the_protocol_is_kept(suite: str, id: str) -> None:
    env, params = make(f"{suite}::{id}", **CASES[suite].ids[id])
    check_environment(env, params, num_steps=300, num_envs=4)


@pytest.mark.parametrize("suite", CASES)
def test_a_time_limit_truncates(suite: str) -> None:
    drive_to_the_end(suite, CASES[suite].limit, terminates=False)


@pytest.mark.parametrize("suite", CASES)
def test_an_end_terminates(suite: str) -> None:
    drive_to_the_end(suite, CASES[suite].end, terminates=True)


def drive_to_the_end(suite: str, end: End, terminates: bool) -> None:
    """Play one episode and look at its flags, its final observation and the first observation of the next."""
    env, params = load(suite).make(end.id, **end.options)
    reset, step, step_env = jax.jit(env.reset), jax.jit(env.step), jax.jit(env.step_env)
    _, state = reset(jax.random.key(0), params)
    state = end.before(state)
    for t in range(MOST_STEPS):
        key = jax.random.key(t + 1)
        action = choose(env, params, end.action, key)
        observation, after, _, terminated, truncated, info = step(key, state, action, params)
        step_key, reset_key = jax.random.split(key)
        if bool(terminated) or bool(truncated):
            break
        same(observation, info["final_observation"])
        state = after
    assert (bool(terminated), bool(truncated)) == (terminates, not terminates)
    assert end.at in (None, t)
    same(info["final_observation"], step_env(step_key, state, action, params)[0])
    first, first_state = reset(reset_key, params)
    same(observation, first)
    same(after, first_state)


def choose(env: Environment, params: Any, action: Any, key: jax.Array) -> Any:
    """The action of every agent."""
    space, agents = env.action_space(params), env.num_agents
    if isinstance(action, str) and action == RANDOM:
        samples = jax.vmap(space.sample)(jax.random.split(key, agents))
        return samples if agents > 1 else jax.tree.map(lambda x: x[0], samples)
    chosen = jnp.asarray(action, space.dtype)
    return jnp.broadcast_to(chosen, (agents, *chosen.shape)) if agents > 1 else chosen


def same(left: Any, right: Any) -> None:
    """Both have the same leaves; compiled apart they may round apart."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suite", [suite for suite, case in CASES.items() if case.draws])
def test_pictures(suite: str) -> None:
    end = CASES[suite].end
    env, params = make(f"{suite}::{end.id}")
    assert env.renders
    picture = env.render(jax.jit(env.reset)(jax.random.key(0), params)[1], params)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert picture.min() < picture.max()


@pytest.mark.parametrize("suite", CASES)
def test_an_option_that_is_not_there_is_one_line(suite: str) -> None:
    id = CASES[suite].limit.id
    with pytest.raises(ValueError, match=r"has no option 'no_such_option'.* \(valid: ") as raised:
        make(f"{suite}::{id}", no_such_option=1)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("brax::ant", {"backend": "newton"}, r"^backend \('newton'\) of brax::ant must be one of generalized, mjx"),
        ("brax::ant", {"episode_length": 0}, r"^episode_length \(0\) of brax::ant must be a number of steps"),
        ("navix::Navix-Empty-5x5-v0", {"observation_fn": "smell"}, r"^observation_fn \('smell'\) of .* must be one of"),
        ("xminigrid::MiniGrid-Empty-5x5", {"max_steps": 0}, r"^max_steps \(0\) of xminigrid::MiniGrid-Empty-5x5 must"),
        ("popgym_arcade::CartPoleEasy", {"obs_size": 64}, r"^obs_size \(64\) of .* must be 128 or 256$"),
        (
            "craftax::Craftax-Classic-Symbolic-v1",
            {"max_timesteps": "long"},
            r"^max_timesteps \('long'\) of .* a number",
        ),
        ("jaxmarl::MPE_simple_tag_v3", {}, r"^jaxmarl::MPE_simple_tag_v3 has agents of different kinds, which cannot"),
    ],
)
def test_an_option_that_is_not_valid_is_one_line(id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        make(id, **options)
    assert "\n" not in str(raised.value)


# The download that fails leaves its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("id", ["mujoco_playground::Go1JoystickFlatTerrain", "jumanji::Sokoban-v0"])
def test_data_that_cannot_be_fetched_is_one_line(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match=f"^{id} .* and could not: ") as raised:
        make(id)
    assert "\n" not in str(raised.value)


def test_craftax_shares_first_states() -> None:
    env, _ = make("craftax::Craftax-Classic-Symbolic-v1")
    assert [env.num_fresh_states(num_envs) for num_envs in (1, 16, 64)] == [1, 1, 4]


def test_arcade_leaves_gymnax_as_it_is() -> None:
    import gymnax

    load("popgym_arcade")
    import gymnax.environments

    assert hasattr(gymnax, "make") and hasattr(gymnax.environments, "CartPole")
