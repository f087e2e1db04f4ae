"""The base class for suites of physical simulation, whose environments have the form of Brax."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.adaptation import StepLimit, Timed, as_written, like, raw_key, space_of_shapes, strong
from memorax.environments.adapted import AdaptedEnvironment
from memorax.environments.environment import StepResult
from memorax.environments.spaces import Box, Space
from memorax.types import Key, PyTree


class PhysicsEnvironment(AdaptedEnvironment):
    """An environment in the form of Brax under our protocol: every episode starts from a first state of its own.

    What ends an episode is the environment's own `done`; its time limit is counted here, so that neither needs the
    packages' training wrappers, which start every episode alike. `info` holds the environment's metrics.

    Args:
        env: the environment, without wrappers.
        default_params: parameters of the environment: its time limit.
        name: id of the environment.
    """

    def __init__(self, env: Any, default_params: StepLimit, name: str) -> None:
        super().__init__(env, default_params, name)
        with as_written():
            self._observations = jax.eval_shape(env.reset, jax.random.PRNGKey(0)).obs

    def reset(self, key: Key, params: StepLimit) -> tuple[PyTree, PyTree]:
        with as_written():
            state = strong(self.env.reset(raw_key(key)))
        return state.obs, Timed(state, jnp.zeros((), jnp.int32))

    def step_env(self, key: Key, env_state: Timed, action: PyTree, params: StepLimit) -> StepResult:
        with as_written():
            state = like(env_state.state, self.env.step(env_state.state, action))
        steps = env_state.steps + 1
        terminated = state.done > 0.5
        truncated = (steps >= params.max_steps) & ~terminated
        reward = jnp.asarray(state.reward, jnp.float32)
        return state.obs, Timed(state, steps), reward, terminated, truncated, dict(state.metrics)

    def observation_space(self, params: PyTree) -> Space:
        return space_of_shapes(self._observations)

    def action_space(self, params: PyTree) -> Space:
        return Box(-1.0, 1.0, (self.env.action_size,))

    @abc.abstractmethod
    def render(self, env_state: Timed, params: PyTree) -> np.ndarray:
        """The state as a picture, uint8 `[H, W, 3]`."""


def without_display(error: Exception, name: str) -> OSError:
    """The error of a renderer that found nothing to draw on, in one line."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return OSError(f"{name} is drawn by OpenGL, which failed ({reason}): without a screen set MUJOCO_GL=egl or osmesa")
