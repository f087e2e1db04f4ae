"""Returns against a forward view in float64, term by term, on random patterns of episode ends."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from memorax.learning import returns
from memorax.testing import check_close

GAMMA = 0.9
NUM_PATTERNS, NUM_STEPS = 1000, 12


@dataclass
class Trajectories:
    """Random trajectories `[N, T]`; `next_values` is unrelated to `values` where an episode ends."""

    rewards: np.ndarray
    values: np.ndarray
    next_values: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    importance_ratios: np.ndarray

    @property
    def done(self) -> np.ndarray:
        return self.terminated | self.truncated

    @property
    def discounts(self) -> np.ndarray:
        return GAMMA * (1.0 - self.terminated)


def make_trajectories(seed: int, num_patterns: int = NUM_PATTERNS, num_steps: int = NUM_STEPS) -> Trajectories:
    rng = np.random.default_rng(seed)
    shape = (num_patterns, num_steps)
    ends = rng.random(shape) < rng.uniform(0.0, 0.6, (num_patterns, 1))
    kinds = rng.random(shape) < 0.5
    values = rng.normal(size=shape)
    final_values = rng.normal(size=shape)
    next_values = np.concatenate([values[:, 1:], final_values[:, -1:]], axis=1)
    return Trajectories(
        rewards=rng.normal(size=shape),
        values=values,
        next_values=np.where(ends, final_values, next_values),
        terminated=ends & kinds,
        truncated=ends & ~kinds,
        importance_ratios=np.exp(rng.normal(size=shape)),
    )


def steps_left(trajectories: Trajectories, t: int) -> np.ndarray:
    """How many steps there are from `t` to the end of its episode or of the trajectory, `[N]`."""
    ends = trajectories.done[:, t:].copy()
    ends[:, -1] = True
    return np.argmax(ends, axis=1) + 1


def forward_n_step(trajectories: Trajectories, t: int, n: np.ndarray) -> np.ndarray:
    """`r_t + gamma r_{t+1} + ... + gamma^n v`, `[N]`; `n` `[N]` reaches beyond no episode."""
    total = np.zeros(len(n))
    for k in range(int(n.max())):
        total += np.where(k < n, GAMMA**k * trajectories.rewards[:, min(t + k, NUM_STEPS - 1)], 0.0)
    rows, last = np.arange(len(n)), t + n - 1
    bootstrapped = ~trajectories.terminated[rows, last]
    return total + np.where(bootstrapped, GAMMA**n * trajectories.next_values[rows, last], 0.0)


def forward_lambda(trajectories: Trajectories, t: int, lambda_: float) -> np.ndarray:
    left = steps_left(trajectories, t)
    total = np.zeros(len(left))
    for n in range(1, NUM_STEPS - t + 1):
        weight = np.where(n < left, (1 - lambda_) * lambda_ ** (n - 1), lambda_ ** (left - 1.0))
        total += np.where(n <= left, weight * forward_n_step(trajectories, t, np.minimum(n, left)), 0.0)
    return total


def forward_corrections(trajectories: Trajectories, t: int, rho: np.ndarray, traces: np.ndarray) -> np.ndarray:
    """`sum_k gamma^k (prod of the traces up to k) rho_k delta_k` over what is left of the episode, `[N]`."""
    left = steps_left(trajectories, t)
    total, product = np.zeros(len(left)), np.ones(len(left))
    for k in range(NUM_STEPS - t):
        successor = np.where(trajectories.terminated[:, t + k], 0.0, GAMMA * trajectories.next_values[:, t + k])
        delta = trajectories.rewards[:, t + k] + successor - trajectories.values[:, t + k]
        total += np.where(k < left, GAMMA**k * product * rho[:, t + k] * delta, 0.0)
        product = product * traces[:, t + k]
    return total


def columns(function) -> np.ndarray:
    return np.stack([function(t) for t in range(NUM_STEPS)], axis=1)


def mapped(function, trajectories: Trajectories, names: str, *arguments) -> np.ndarray:
    """`function` compiled and mapped over the trajectories."""
    sequences = [jnp.asarray(getattr(trajectories, name)) for name in names.split()]
    sequences = [x if x.dtype == bool else x.astype(jnp.float32) for x in sequences]
    return compiled(function, arguments)(*sequences)


@functools.cache
def compiled(function, arguments):
    return jax.jit(jax.vmap(lambda *x: function(*x, *arguments)))


GAE = "rewards values next_values discounts done"
RETURN = "rewards next_values discounts done"
OFF_POLICY = "rewards values next_values discounts done importance_ratios"


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 0.95, 1.0])
def test_lambda_return_and_advantage_equal_the_forward_view(lambda_):
    trajectories = make_trajectories(1)
    expected = columns(lambda t: forward_lambda(trajectories, t, lambda_))
    check_close(mapped(returns.lambda_return, trajectories, RETURN, lambda_), expected)
    advantages = mapped(returns.generalized_advantage_estimate, trajectories, GAE, lambda_)
    check_close(advantages, expected - trajectories.values)


@pytest.mark.parametrize("n", [1, 2, 5, NUM_STEPS, NUM_STEPS + 3])
def test_n_step_return_equals_the_forward_view(n):
    trajectories = make_trajectories(2)

    def expected(t):
        return forward_n_step(trajectories, t, np.minimum(n, steps_left(trajectories, t)))

    check_close(mapped(returns.n_step_return, trajectories, RETURN, n), columns(expected))


@pytest.mark.parametrize(("lambda_", "rho_clip", "c_clip"), [(1.0, 1.0, 1.0), (0.7, 2.0, 0.8)])
def test_vtrace_equals_the_forward_view(lambda_, rho_clip, c_clip):
    trajectories = make_trajectories(3)
    rho = np.minimum(rho_clip, trajectories.importance_ratios)
    traces = lambda_ * np.minimum(c_clip, trajectories.importance_ratios)
    corrections = columns(lambda t: forward_corrections(trajectories, t, rho, traces))
    targets = trajectories.values + corrections
    ends = trajectories.done | (np.arange(NUM_STEPS) == NUM_STEPS - 1)[None]
    next_targets = np.where(ends, trajectories.next_values, np.roll(targets, -1, axis=1))
    advantages = rho * (trajectories.rewards + trajectories.discounts * next_targets - trajectories.values)
    actual = mapped(returns.vtrace, trajectories, OFF_POLICY, lambda_, rho_clip, c_clip)
    check_close(actual.targets, targets)
    check_close(actual.advantages, advantages)


def test_retrace_reads_no_ratio_of_the_first_action() -> None:
    ones = jnp.ones(3)
    ratios = jnp.asarray([jnp.nan, 0.5, 0.5])
    discounts = 0.5 * ones
    found = returns.retrace(ones, 0 * ones, 0 * ones, discounts, jnp.asarray([False, False, True]), ratios, 1.0)
    np.testing.assert_allclose(found, [1 + 0.25 * (1 + 0.25), 1.25, 1.0])


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_retrace_equals_the_forward_view(lambda_):
    trajectories = make_trajectories(4)
    traces = np.roll(lambda_ * np.minimum(1.0, trajectories.importance_ratios), -1, axis=1)
    rho = np.ones_like(traces)
    expected = trajectories.values + columns(lambda t: forward_corrections(trajectories, t, rho, traces))
    check_close(mapped(returns.retrace, trajectories, OFF_POLICY, lambda_), expected)


def test_golden_numbers():
    """Two rewards, a time limit, a real end and the end of the trajectory, worked out by hand."""
    rewards = jnp.array([1.0, 2.0, 3.0, 4.0])
    values = jnp.array([10.0, 20.0, 30.0, 40.0])
    next_values = jnp.array([20.0, 100.0, 7.0, 8.0])  # 100: of the final observation; 7: never read
    discounts = jnp.array([0.5, 0.5, 0.0, 0.5])
    done = jnp.array([False, True, True, False])
    one_step = [11.0, 52.0, 3.0, 8.0]
    np.testing.assert_array_equal(returns.n_step_return(rewards, next_values, discounts, done, 1), one_step)
    two_step = [27.0, 52.0, 3.0, 8.0]
    np.testing.assert_array_equal(returns.n_step_return(rewards, next_values, discounts, done, 2), two_step)
    half = [19.0, 52.0, 3.0, 8.0]
    np.testing.assert_array_equal(returns.lambda_return(rewards, next_values, discounts, done, 0.5), half)
    advantages = returns.generalized_advantage_estimate(rewards, values, next_values, discounts, done, 0.5)
    np.testing.assert_array_equal(advantages, np.array(half) - values)


def test_identities():
    trajectories = make_trajectories(5)
    on_policy = make_trajectories(5)
    on_policy.importance_ratios[:] = 1.0
    lambda_one = mapped(returns.lambda_return, trajectories, RETURN, 1.0)
    lambda_zero = mapped(returns.lambda_return, trajectories, RETURN, 0.0)
    check_close(lambda_one, mapped(returns.n_step_return, trajectories, RETURN, NUM_STEPS))
    check_close(lambda_zero, mapped(returns.n_step_return, trajectories, RETURN, 1))
    for lambda_ in (0.0, 0.8, 1.0):
        on_policy_return = mapped(returns.lambda_return, on_policy, RETURN, lambda_)
        check_close(mapped(returns.vtrace, on_policy, OFF_POLICY, lambda_).targets, on_policy_return)
        check_close(mapped(returns.retrace, on_policy, OFF_POLICY, lambda_), on_policy_return)


FUNCTIONS = {
    "gae": (returns.generalized_advantage_estimate, GAE, (0.9,)),
    "lambda_return": (returns.lambda_return, RETURN, (0.9,)),
    "n_step_return": (returns.n_step_return, RETURN, (4,)),
    "vtrace": (returns.vtrace, OFF_POLICY, ()),
    "retrace": (returns.retrace, OFF_POLICY, ()),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), end=st.integers(0, NUM_STEPS - 2), truncated=st.booleans())
def test_nothing_crosses_an_episode_boundary(name, seed, end, truncated):
    """Whatever follows a `done`, NaN included, changes nothing before it, nor do gradients come from there."""
    function, names, arguments = FUNCTIONS[name]
    trajectories = make_trajectories(seed, num_patterns=1)
    trajectories.terminated[:, end], trajectories.truncated[:, end] = not truncated, truncated
    spoiled = make_trajectories(seed, num_patterns=1)
    spoiled.terminated[:], spoiled.truncated[:] = trajectories.terminated, trajectories.truncated
    for array in (spoiled.rewards, spoiled.values, spoiled.next_values, spoiled.importance_ratios):
        array[:, end + 1 :] = np.nan
    if not truncated:
        spoiled.next_values[:, end] = np.nan
    clean = jax.tree.leaves(mapped(function, trajectories, names, *arguments))
    for before, after in zip(clean, jax.tree.leaves(mapped(function, spoiled, names, *arguments)), strict=True):
        np.testing.assert_array_equal(before[:, : end + 1], after[:, : end + 1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_finite_beside_nan(name):
    function, names, arguments = FUNCTIONS[name]
    trajectories = make_trajectories(6, num_patterns=1)
    trajectories.terminated[:, 5], trajectories.truncated[:, 5] = True, False
    trajectories.next_values[:, 5] = np.nan
    sequences = {n: jnp.asarray(getattr(trajectories, n)[0]) for n in names.split()}
    floats = {n: x.astype(jnp.float32) for n, x in sequences.items() if n != "done"}

    def loss(floats):
        result = function(*[floats[n] if n in floats else sequences[n] for n in names.split()], *arguments)
        return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(result))

    gradients = jax.grad(loss)(floats)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_endless_reward_is_worth_its_fixed_point():
    """A reward of 1 at every step, cut off by time limits: the value 1 / (1 - gamma) reproduces itself."""
    value = jnp.full((20,), 1.0 / (1.0 - GAMMA))
    done = jnp.arange(20) % 7 == 6
    target = returns.lambda_return(jnp.ones(20), value, jnp.full((20,), GAMMA), done, 0.95)
    np.testing.assert_allclose(target, value, rtol=1e-6)


def test_shapes_are_checked():
    x, done = jnp.zeros(4), jnp.zeros(4, bool)
    with pytest.raises(ValueError, match=r"rewards \(2, 4\) must be \[T\]"):
        returns.lambda_return(jnp.zeros((2, 4)), x, x, done, 0.9)
    with pytest.raises(ValueError, match=r"next_values \(3,\) must have the shape of rewards, \(4,\)"):
        returns.lambda_return(x, jnp.zeros(3), x, done, 0.9)
    with pytest.raises(ValueError, match=r"n \(0\) must be at least 1"):
        returns.n_step_return(x, x, x, done, 0)
