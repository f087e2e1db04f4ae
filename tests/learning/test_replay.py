"""Targets of replayed sequences: where they end, and which steps have none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memorax.learning.losses import signed_hyperbolic, signed_parabolic
from memorax.learning.replay import known_successors, n_step_targets, replayed_updates
from memorax.types import Timestep

GAMMA = 0.5

ENDS = ("goes on", "terminated", "truncated")

n_step_targets_of = jax.jit(n_step_targets, static_argnums=(3, 4))


def target(rewards, terminated, known, values, n):
    """Targets by the parts of `n_step_targets`; `values[t]` is that of timestep t."""
    parts = jax.device_get(n_step_targets_of(*map(np.asarray, (rewards, terminated, known)), GAMMA, n))
    goal = parts.reward + np.where(parts.discount == 0, 0.0, parts.discount * np.asarray(values)[parts.successor])
    return goal, parts.known


def test_a_time_limit_shortens_targets_and_hides_one() -> None:
    """The next episode's value of 1000 is out of reach; only the step before the unknown successor has no target."""
    rewards, none = [1.0, 2.0, 3.0, 4.0], [False] * 4
    values = [10.0, 10.0, 10.0, 10.0, 1000.0]
    goal, known = target(rewards, none, [True, True, True, False], values, 3)
    np.testing.assert_allclose(goal[:3], [4.0, 6.0, 8.0])
    np.testing.assert_array_equal(known, [True, True, True, False])
    goal, known = target(rewards, [False, False, False, True], [True] * 4, values, 3)
    np.testing.assert_allclose(goal, [4.0, 4.5, 5.0, 4.0])
    assert known.all()
    goal, known = target(rewards, none, [True] * 4, [10.0] * 5, 3)
    np.testing.assert_allclose(goal, [4.0, 5.75, 7.5, 9.0])
    assert known.all()


@given(
    # Of three lengths, each with three numbers of steps: each is compiled once.
    st.sampled_from([1, 5, 12]).flatmap(lambda size: st.lists(st.sampled_from(ENDS), min_size=size, max_size=size)),
    st.sampled_from([1, 3, 5]),
    st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_targets_are_those_of_a_loop(ends, n, seed) -> None:
    rng = np.random.default_rng(seed)
    size = len(ends)
    rewards, values = rng.normal(size=size).astype(np.float32), rng.normal(size=size + 1).astype(np.float32)
    terminated = np.asarray([end == "terminated" for end in ends])
    hidden = np.asarray([end == "truncated" for end in ends])
    goal, known = target(rewards, terminated, ~hidden, values, n)
    np.testing.assert_array_equal(known, ~hidden)
    for t in np.flatnonzero(known):
        total, discount, i = 0.0, 1.0, t
        while i < size and i - t < n and not hidden[i]:
            total, discount, i = total + discount * rewards[i], discount * GAMMA, i + 1
            if terminated[i - 1]:
                discount = 0.0
                break
        np.testing.assert_allclose(goal[t], total + discount * values[i], rtol=1e-5, atol=1e-5)


def test_nothing_behind_an_end_is_read() -> None:
    parts = n_step_targets(
        jnp.asarray([1.0, jnp.nan]), jnp.asarray([True, False]), jnp.asarray([True, True]), GAMMA, n=2
    )
    assert parts.reward[0] == 1.0
    assert parts.discount[0] == 0.0


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("n", [1, 3])
def test_one_target_is_dropped_at_each_time_limit(limit: int, n: int) -> None:
    steps = 20
    hidden = (jnp.arange(steps) + 1) % limit == 0
    parts = n_step_targets(jnp.ones(steps), jnp.zeros(steps, bool), ~hidden, GAMMA, n)
    assert int((~parts.known).sum()) == steps // limit


def test_successors_are_known_inside_an_episode_and_a_window() -> None:
    done = jnp.asarray([[True, False, True, False, False]])
    timesteps = Timestep(jnp.zeros((1, 5, 1)), jnp.zeros((1, 5)), jnp.zeros((1, 5)), done)
    valid = jnp.asarray([[True, True, True, True, False]])
    nothing = jnp.zeros((1, 4), bool)
    assert known_successors(timesteps, nothing, jnp.ones_like(valid)).tolist() == [[True, False, True, True]]
    assert known_successors(timesteps, nothing, valid).tolist() == [[True, False, True, False]]
    ends = jnp.asarray([[False, True, False, True]])
    assert known_successors(timesteps, ends, valid).tolist() == [[True, True, True, True]]


def test_updates_wait_until_there_is_something_to_learn_from() -> None:
    def update(state, key):
        return state + 1, {"loss": state}

    state, metrics = replayed_updates(jax.random.key(0), jnp.zeros(()), jnp.asarray(True), 3, update)
    assert (state, metrics["loss"], metrics["updates"]) == (3, 1, 3)
    state, metrics = replayed_updates(jax.random.key(0), jnp.zeros(()), jnp.asarray(False), 3, update)
    assert (state, metrics["updates"]) == (0, 0)
    assert np.isnan(metrics["loss"])


def test_the_signed_hyperbolic_scale_and_its_inverse() -> None:
    np.testing.assert_allclose(signed_hyperbolic(jnp.asarray([-100.0, 100.0])), [-9.149876, 9.149876], rtol=1e-6)
    small, large = jnp.linspace(-1.0, 1.0, 401), jnp.asarray([-1e4, -300.0, -10.0, 10.0, 50.0, 1e3, 1e4])
    np.testing.assert_allclose(signed_parabolic(signed_hyperbolic(small)), small, atol=1e-6)
    np.testing.assert_allclose(signed_parabolic(signed_hyperbolic(large)), large, rtol=1e-5)
    # Rewards enter between inverse and scale: two of 1, then the value 8 on the rescaled side.
    goal = signed_hyperbolic(1 + 0.5 + 0.25 * signed_parabolic(signed_hyperbolic(jnp.asarray(8.0))))
    np.testing.assert_allclose(goal, 1.12482, rtol=1e-5)
