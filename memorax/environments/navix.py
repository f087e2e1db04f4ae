"""Environments of the `navix` package: MiniGrid in JAX.

Pignatelli et al., "NAVIX: Scaling MiniGrid Environments with JAX", 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import navix
import numpy as np
from navix import observations

from memorax.environments.adaptation import as_written, like, positive, raw_key, strong
from memorax.environments.adapted import AdaptedEnvironment
from memorax.environments.environment import Environment, StepResult
from memorax.environments.options import check_options
from memorax.environments.spaces import Box, Discrete, Space
from memorax.types import Key, PyTree

OBSERVATIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        observations.categorical,
        observations.categorical_first_person,
        observations.rgb,
        observations.rgb_first_person,
        observations.symbolic,
        observations.symbolic_first_person,
    )
}


def ids() -> list[str]:
    """The names `make` knows: those of navix, with the ones the user registered there."""
    return list(navix.registry())


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment.

    Args:
        id: name of the environment in the suite.
        kwargs: `max_steps` (100 by default, as in the package); `observation_fn`, one of the package's by name:
            `symbolic` (the whole grid, by default), `symbolic_first_person` (what the agent sees), `rgb`, ...;
            `gamma` and `penality_coeff`.

    Raises:
        ValueError: if there is no such option, or it is not valid.
    """
    name = f"navix::{id}"
    check_options(name, kwargs, ["max_steps", "observation_fn", "gamma", "penality_coeff"])
    if "max_steps" in kwargs:
        kwargs["max_steps"] = positive(name, "max_steps", kwargs["max_steps"])
    if "observation_fn" in kwargs:
        chosen = kwargs["observation_fn"]
        if chosen not in OBSERVATIONS:
            raise ValueError(f"observation_fn ({chosen!r}) of {name} must be one of {', '.join(OBSERVATIONS)}")
        kwargs["observation_fn"] = OBSERVATIONS[chosen]
    with as_written():
        env = navix.make(id, **kwargs)
    return NavixEnvironment(env, id), None


class NavixEnvironment(AdaptedEnvironment):
    """A NAVIX environment under our protocol, stepped without the package's reset at the next step.

    Args:
        env: the environment.
        name: id of the environment.
    """

    def __init__(self, env: navix.Environment, name: str) -> None:
        super().__init__(env, None, name)
        space = env.observation_space
        # The package declares a few kinds of objects and shows more: a byte holds them all, and a wall may be -1.
        lowest = 0 if space.dtype == jnp.uint8 else -1
        self._observation_space = Box(lowest, 255, tuple(space.shape), space.dtype)
        self._action_space = Discrete(len(env.action_set))

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        with as_written():
            timestep = strong(self.env.reset(raw_key(key)))
        return self._observe(timestep), timestep

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        with as_written():
            timestep = like(env_state, self.env._step(env_state, action))
            terminated, truncated = timestep.is_termination(), timestep.is_truncation()
        return self._observe(timestep), timestep, jnp.asarray(timestep.reward, jnp.float32), terminated, truncated, {}

    def _observe(self, timestep: PyTree) -> PyTree:
        return jnp.asarray(timestep.observation, self._observation_space.dtype)

    def observation_space(self, params: PyTree) -> Space:
        return self._observation_space

    def action_space(self, params: PyTree) -> Space:
        return self._action_space

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        with as_written():
            return np.asarray(observations.rgb(env_state.state), np.uint8)
