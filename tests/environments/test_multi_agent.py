"""Several agents in one environment are side by side in its batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from memorax.environments.environment import StepResult
from memorax.environments.multi_agent import MultiAgentEnvironment
from memorax.environments.spaces import Box, Discrete, Space
from memorax.environments.wrappers import MaskObservation, OptimisticResets
from memorax.testing import check_environment
from memorax.types import Array, Key, PyTree


@struct.dataclass
class TableState:
    """What lies on the table, drawn at the reset, and the steps since."""

    start: Array
    steps: Array


class Table(MultiAgentEnvironment):
    """Three agents see a number they share and their own place; each is paid its action. It ends by the first agent's
    action 3, or after four steps.
    """

    @property
    def num_agents(self) -> int:
        return 3

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        state = TableState(start=jax.random.uniform(key), steps=jnp.zeros((), jnp.int32))
        return self.observe(state), state

    def step_env(self, key: Key, env_state: TableState, action: PyTree, params: PyTree) -> StepResult:
        state = TableState(start=env_state.start, steps=env_state.steps + 1)
        reward = action.astype(jnp.float32)
        return self.observe(state), state, reward, action[0] == 3, state.steps >= 4, {"seat": jnp.arange(3)}

    def observe(self, state: TableState) -> Array:
        return jnp.stack([jnp.full((3,), state.start), jnp.arange(3.0), jnp.full((3,), state.steps)], axis=1)

    def observation_space(self, params: PyTree) -> Space:
        return Box(0, 4, (3,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(4)


def test_agents_of_an_environment_lie_side_by_side() -> None:
    batch = Table().vectorize(6)
    observation, state = jax.jit(batch.reset)(jax.random.key(0), None)
    assert observation.shape == (6, 3) and state.start.shape == (2,)
    np.testing.assert_array_equal(observation[:, 0], np.repeat(state.start, 3))
    np.testing.assert_array_equal(observation[:, 1], [0, 1, 2, 0, 1, 2])
    assert float(state.start[0]) != float(state.start[1])
    actions = jnp.asarray([3, 0, 1, 2, 3, 0])
    observation, after, reward, terminated, truncated, info = jax.jit(batch.step)(
        jax.random.key(1), state, actions, None
    )
    np.testing.assert_array_equal(reward, actions)
    assert terminated.tolist() == [True] * 3 + [False] * 3  # the first agent's action ends it for all of its table
    assert not bool(truncated.any())
    np.testing.assert_array_equal(info["final_observation"][:, 0], np.repeat(state.start, 3))
    np.testing.assert_array_equal(info["final_observation"][:, 2], 1)
    np.testing.assert_array_equal(info["seat"], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(observation[:, 0], np.repeat(after.start, 3))
    np.testing.assert_array_equal(observation[:, 2], [0, 0, 0, 1, 1, 1])
    assert float(after.start[0]) != float(state.start[0])
    state = after.replace(steps=jnp.asarray([3, 3], jnp.int32))
    _, after, _, terminated, truncated, _ = jax.jit(batch.step)(jax.random.key(2), state, actions, None)
    assert terminated.tolist() == [True] * 3 + [False] * 3
    assert truncated.tolist() == [False] * 3 + [True] * 3
    assert after.steps.tolist() == [0, 0]


def test_an_environment_of_several_agents_keeps_the_protocol() -> None:
    check_environment(Table(), None, num_steps=12, num_envs=6)
    check_environment(MaskObservation(Table(), (0, 2)), None, num_steps=12, num_envs=6)


def test_a_batch_has_whole_environments() -> None:
    message = r"^num_envs \(4\) must be divisible by the 3 agents of Table: it counts agents over all environments$"
    with pytest.raises(ValueError, match=message):
        Table().vectorize(4)
    with pytest.raises(ValueError, match="optimistic_resets"):
        OptimisticResets(Table(), 2)
