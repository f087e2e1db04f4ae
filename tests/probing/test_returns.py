"""What an agent does without its memory, and where more or less must be remembered."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax import make
from memorax.probing.returns import lengths_around, play
from memorax.rollout import rollout
from memorax.types import Carry, Key, PyTree, Timestep, Trajectory
from tests.training.small import small_agent


def test_a_wiped_carry_is_that_of_an_episode_that_starts_at_every_step() -> None:
    agent = small_agent()
    _, state = agent.init(jax.random.key(0))
    key = jax.random.key(1)

    @jax.jit
    def always_starting(state: PyTree) -> Trajectory:
        policy = agent.policy(state)

        def act(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, PyTree, PyTree]:
            return policy(key, timestep.replace(done=jnp.ones_like(timestep.done)), carry)

        enter_key, rollout_key = jax.random.split(key)
        environments = agent.env.vectorize(3)
        worker = agent.enter(enter_key, state, environments)
        return rollout(environments, agent.env_params, act, worker, rollout_key, 60)[1]

    @jax.jit
    def played(state: PyTree) -> tuple[Trajectory, Trajectory]:
        return play(agent, key, state, 3, 60, wipe=True), play(agent, key, state, 3, 60)

    (wiped, whole), expected = played(state), always_starting(state)
    np.testing.assert_allclose(wiped.extras["log_prob"], expected.extras["log_prob"], atol=1e-6)
    np.testing.assert_array_equal(wiped.action, expected.action)
    assert wiped.timesteps.done.sum() == 2 * 3, "the environments go on as before: an episode takes 51 steps"
    assert np.abs(wiped.extras["log_prob"] - whole.extras["log_prob"]).max() > 1e-3


@pytest.mark.parametrize(
    ("id", "option", "value"),
    [
        ("memory::TMaze", "length", 10),
        ("memory::MemoryChain", "memory_length", 10),
        ("memory::RecallHorizon-16", "horizon", 16),
        ("memory::DelayedMatchToSample", "delay", 10),
        ("popgym::RepeatPreviousMedium", "k", 32),
        ("gymnax::MemoryChain-bsuite", "memory_length", 5),
    ],
)
def test_tasks_name_the_option_that_sets_how_long_to_remember(id: str, option: str, value: int) -> None:
    env, params = make(id, time_limit=1000)
    assert env.memory_option(params) == (option, value)
    longer, longer_params = make(id, **{option: value + 1})
    assert longer.memory_option(longer_params) == (option, value + 1)
    for space in ("observation_space", "action_space"):
        assert repr(getattr(longer, space)(longer_params)) == repr(getattr(env, space)(params))


def test_a_task_without_such_an_option_names_none() -> None:
    env, params = make("popgym::CountRecallEasy")
    assert env.memory_option(params) is None


def test_lengths_lie_between_a_quarter_and_four_times() -> None:
    assert lengths_around(10) == [2, 5, 8, 10, 15, 20, 40]
    assert lengths_around(1) == [1, 2, 4]
