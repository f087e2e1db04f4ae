"""Several agents in one environment are side by side in its batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from memorax.algorithms.environment_checks import check_environment_types
from memorax.environments.environment import Environment
from memorax.environments.multi_agent import AgentsStepResult, MultiAgentEnvironment
from memorax.environments.spaces import Box, Discrete, Space
from memorax.environments.wrappers import MaskObservation, NormalizeObservation, NormalizeReward, OptimisticResets
from memorax.testing import check_environment
from memorax.types import Array, Key, PyTree
from tests.probes import GoesOut, MaskedActions, OthersCue


@struct.dataclass
class TableState:
    """What lies on the table, drawn at the reset, and the steps since."""

    start: Array
    steps: Array


class Table(MultiAgentEnvironment):
    """Three agents see a number they share and their own place; each is paid its action. It ends by the first agent's
    action 3, or after four steps; another agent that plays 3 goes out.
    """

    @property
    def num_agents(self) -> int:
        return 3

    def reset_agents(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        state = TableState(start=jax.random.uniform(key), steps=jnp.zeros((), jnp.int32))
        return self.observe(state), (state, jnp.zeros(3, bool))

    def step_agents(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> AgentsStepResult:
        state, out = env_state
        state = TableState(start=state.start, steps=state.steps + 1)
        out = out | (action == 3)
        reward = action.astype(jnp.float32)
        info = {"seat": jnp.arange(3)}
        return self.observe(state), (state, out), reward, out, action[0] == 3, state.steps >= 4, info

    def observe(self, state: TableState) -> Array:
        return jnp.stack([jnp.full((3,), state.start), jnp.arange(3.0), jnp.full((3,), state.steps)], axis=1)

    def observation_space(self, params: PyTree) -> Space:
        return Box(0, 4, (3,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(4)


def test_agents_of_an_environment_lie_side_by_side() -> None:
    batch = Table().vectorize(2)
    assert (batch.num_envs, batch.batch_size) == (2, 6)
    observation, state = jax.jit(batch.reset)(jax.random.key(0), None)
    table = state.env_state[0]
    assert observation.shape == (6, 3) and table.start.shape == (2,)
    np.testing.assert_array_equal(observation[:, 0], np.repeat(table.start, 3))
    np.testing.assert_array_equal(observation[:, 1], [0, 1, 2, 0, 1, 2])
    assert float(table.start[0]) != float(table.start[1])
    actions = jnp.asarray([3, 0, 1, 2, 1, 0])
    step = jax.jit(batch.step)
    observation, state, reward, terminated, truncated, info = step(jax.random.key(1), state, actions, None)
    after = state.env_state[0]
    np.testing.assert_array_equal(reward, actions)
    assert terminated.tolist() == [True] * 3 + [False] * 3  # the first agent's action ends it for all of its table
    assert not bool(truncated.any())
    # The first agent went out with this step: it sees zeros.
    np.testing.assert_array_equal(info["final_observation"][1:, 0], np.repeat(table.start, 3)[1:])
    np.testing.assert_array_equal(info["final_observation"][:, 2], [0, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(info["seat"], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(observation[:, 0], np.repeat(after.start, 3))
    np.testing.assert_array_equal(observation[:, 2], [0, 0, 0, 1, 1, 1])
    assert float(after.start[0]) != float(table.start[0])
    after = after.replace(steps=jnp.asarray([3, 3], jnp.int32))
    state = state.replace(env_state=(after, state.env_state[1]))
    _, state, _, terminated, truncated, _ = step(jax.random.key(2), state, actions, None)
    assert terminated.tolist() == [True] * 3 + [False] * 3
    assert truncated.tolist() == [False] * 3 + [True] * 3
    assert state.env_state[0].steps.tolist() == [0, 0]


def test_info_says_who_took_part_and_who_went_out() -> None:
    batch = Table().vectorize(1)
    _, state = jax.jit(batch.reset)(jax.random.key(0), None)
    step, active, went_out = jax.jit(batch.step), [], []
    # The second goes out with the second step, the third with the last of the four, and then all begin again.
    for actions in ([0, 0, 0], [0, 3, 0], [0, 0, 0], [0, 0, 3], [0, 0, 0]):
        _, state, *_, info = step(jax.random.key(1), state, jnp.asarray(actions), None)
        active.append(info["active"].tolist())
        went_out.append(info["went_out"].tolist())
    assert np.asarray(active).T.tolist() == [[True] * 5, [True, True, False, False, True], [True] * 5]
    assert np.asarray(went_out).T.tolist() == [
        [False] * 5,
        [False, True, False, False, False],
        [False, False, False, True, False],
    ]


def test_an_agent_that_went_out_sees_zeros() -> None:
    batch = GoesOut(while_out=float("nan")).vectorize(1)
    _, state = batch.reset(jax.random.key(0), None)
    seen = []
    for _ in range(4):
        observation, state, *_, info = batch.step(jax.random.key(1), state, jnp.ones((2,), jnp.int32), None)
        seen.append((observation[:, 0].tolist(), info["final_observation"][:, 0].tolist()))
    assert seen == [([0.25] * 2, [0.25] * 2), ([0, 0.5], [0, 0.5]), ([0, 0.75], [0, 0.75]), ([0, 0], [0, 1])]


def test_an_environment_of_several_agents_keeps_the_protocol() -> None:
    check_environment(Table(), None, num_steps=12, num_envs=2)
    wrapped = NormalizeReward(NormalizeObservation(MaskObservation(Table(), (0, 2))), 0.9)
    check_environment(wrapped, None, num_steps=12, num_envs=2)


class Alone(Table):
    """The table with one agent."""

    @property
    def num_agents(self) -> int:
        return 1

    def observe(self, state: TableState) -> Array:
        return super().observe(state)[:1]

    def reset_agents(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, (state, out) = super().reset_agents(key, params)
        return observation, (state, out[:1])

    def step_agents(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> AgentsStepResult:
        *returned, info = super().step_agents(key, env_state, action, params)
        return *returned, {"seat": info["seat"][:1]}


@pytest.mark.parametrize("env", [Alone(), Table(), MaskObservation(Alone(), (0, 2)), MaskObservation(Table(), (0, 2))])
def test_an_agent_is_built_for_any_number_of_agents(env: Environment) -> None:
    check_environment(env, None)
    check_environment_types(env, None)


def test_resets_are_not_shared() -> None:
    for env in (Table(), Alone()):
        with pytest.raises(ValueError, match="optimistic_resets"):
            OptimisticResets(env, 2)


def play(env: Environment, actions: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The rewards `[T, B]` of one environment for actions `[T, B]`, and its `info`."""
    batch = env.vectorize(1)

    @jax.jit
    def run(actions: Array) -> tuple[Array, dict[str, Any]]:
        def step(state: PyTree, action: Array) -> tuple[PyTree, tuple[Array, dict[str, Any]]]:
            _, state, reward, *_, info = batch.step(jax.random.key(1), state, action, None)
            return state, (reward, info)

        return jax.lax.scan(step, batch.reset(jax.random.key(0), None)[1], actions)[1]

    return jax.device_get(run(jnp.asarray(actions, jnp.int32)))


def test_each_agent_of_the_probe_needs_what_it_was_shown_first() -> None:
    env = OthersCue(delay=2)
    check_environment(env, None, num_steps=8, num_envs=3)
    seen, _ = env.vectorize(1).reset(jax.random.key(0), None)
    right = np.asarray(seen[:, 0] > 0, int)
    for answers in ([right[0], right[1]], [1 - right[0], right[1]]):
        reward, _ = play(env, [[0, 0], [0, 0], answers])
        np.testing.assert_array_equal(reward, [[0, 0], [0, 0], [1 if answers[0] == right[0] else -1, 1]])


def test_an_agent_of_the_probe_goes_out() -> None:
    check_environment(GoesOut(while_out=3.0), None, num_steps=8, num_envs=3)
    reward, info = play(GoesOut(while_out=3.0), np.ones((6, 2)))
    np.testing.assert_array_equal(reward, [[1, 1], [1, 1], [0, 1], [0, 1], [1, 1], [1, 1]])
    np.testing.assert_array_equal(info["raw_reward"], [[1, 1], [1, 1], [3, 1], [3, 1], [1, 1], [1, 1]])
    np.testing.assert_array_equal(info["active"], [[1, 1], [1, 1], [0, 1], [0, 1], [1, 1], [1, 1]])
    np.testing.assert_array_equal(info["went_out"], [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0], [1, 0]])


def test_the_masked_probe_pays_legal_actions() -> None:
    reward, info = play(MaskedActions(), [[0], [1], [0], [1], [0], [1], [2], [3], [2], [1], [1], [0]])
    np.testing.assert_array_equal(reward[:, 0], [1, 1, 1, 1, 1, 1, 0, 0, 0, 1, -1, 1])
    masks = info["final_observation"]["action_mask"][:, 0]
    np.testing.assert_array_equal(masks[0], [False, True, False, True])
    np.testing.assert_array_equal(masks[1], [True, False, True, False])
    check_environment(MaskedActions(), None, num_steps=12, num_envs=3)
