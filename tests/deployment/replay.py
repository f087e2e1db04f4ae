"""An environment that tells what it showed before any wrapper, and policies that act along what an agent played."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from memorax.algorithms import PPOConfig
from memorax.algorithms.algorithm import Agent
from memorax.deployment.acting import program_of
from memorax.deployment.policy import Policy
from memorax.environments.environment import Environment
from memorax.environments.make import wrapped
from memorax.environments.spaces import Box, Space
from memorax.training import TrainConfig, build_agent
from memorax.types import Array, Key, PyTree, Transition

FIRST = (0.3, -0.2, 0.1)


class Drift(Environment):
    """Numbers that drift at random, whatever is done, and are the same at the start of every episode."""

    def __init__(self, action_space: Space) -> None:
        self._action_space = action_space

    def reset(self, key: Key, params: PyTree) -> tuple[Array, PyTree]:
        return jnp.asarray(FIRST), (jnp.asarray(FIRST), jnp.zeros((), jnp.int32))

    def step_env(self, key: Key, env_state: PyTree, action: Array, params: PyTree) -> Any:
        position, time = env_state
        position = position + jax.random.normal(key, (3,))
        ended = jax.random.bernoulli(key, 0.1)
        taken = jnp.asarray(action, jnp.float32)
        info = {"shown": position, "taken": taken}
        return position, (position, time + 1), position.sum() + 0.1 * taken.sum(), ended, ~ended & (time > 8), info

    def observation_space(self, params: PyTree) -> Space:
        return Box(-np.inf, np.inf, (3,))

    def action_space(self, params: PyTree) -> Space:
        return self._action_space


def make_agent(action_space: Space, torso: str, wrappers: dict[str, Any] | None = None, **settings: Any) -> Agent:
    """A small agent that sees everything there is to see."""
    config = TrainConfig(
        **{
            "hyperparameters": PPOConfig(num_envs=3, num_steps=8, num_minibatches=1, update_epochs=1),
            "torso": torso,
            "features": 8,
            "previous_action": True,
            "previous_reward": True,
            "episode_start": True,
            **settings,
        }
    )
    return build_agent(config, (wrapped(Drift(action_space), wrappers or {}), None))


class OnnxRunner:
    """The ONNX of an exported policy, for a batch of rows."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(folder / "greedy.onnx", options)
        self.first_carry = load_file(folder / "carry.safetensors")

    def batch(self, rows: int) -> OnnxRunner:
        self.carry = {f"carry.{name}": _stored(np.concatenate([x] * rows)) for name, x in self.first_carry.items()}
        return self

    def __call__(self, observation: np.ndarray, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        arrived = {"observation": observation, "previous_reward": reward, "done": done, **self.carry}
        outputs = [each.name for each in self.session.get_outputs()]
        after = dict(zip(outputs, self.session.run(outputs, arrived), strict=True))
        self.carry = {name: after[f"next.{name}"] for name in self.carry}
        return after["action"]


def _stored(array: np.ndarray) -> np.ndarray:
    return np.stack([array.real, array.imag], axis=-1) if np.iscomplexobj(array) else array


def act_along(policy: Policy | OnnxRunner, transitions: Transition) -> list[Any]:
    """What a policy chooses at each step of what an agent has played, actions `[B, ...]`."""
    played = jax.device_get(transitions)
    rows, steps = played.reward.shape
    batch = policy.batch(rows)
    observation, reward, done = np.tile(np.float32(FIRST), (rows, 1)), np.zeros(rows, np.float32), np.ones(rows, bool)
    actions = []
    for step in range(steps):
        actions.append(batch(observation, reward, done))
        done = played.done[:, step]
        reward = played.info.get("raw_reward", played.reward)[:, step]
        observation = np.where(done[:, None], np.float32(FIRST), played.info["shown"][:, step])
    return actions


def assert_acts_as(agent: Agent, state: PyTree, num_steps: int, policies: Sequence[Policy | OnnxRunner] = ()) -> None:
    """Check that policies, and that of the agent itself, act as it does, in episodes that end and begin."""
    _, transitions = agent.evaluate(jax.random.key(1), state, num_steps * agent.cfg.num_envs)
    assert 0 < np.mean(transitions.done) < 1
    assert len(np.unique(np.round(transitions.info["taken"], 5))) > 1, "there must be something to choose"
    for policy in policies or [Policy(program_of(agent, state))]:
        for step, action in enumerate(act_along(policy, transitions)):
            taken = np.asarray(transitions.info["taken"][:, step])
            np.testing.assert_allclose(action, taken, rtol=1e-5, atol=1e-5, err_msg=f"step {step}")
