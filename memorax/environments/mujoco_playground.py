"""Environments of the `mujoco_playground` package: the DeepMind control suite, locomotion and manipulation in MJX.

Zakka et al., "MuJoCo Playground", 2025.
"""

from __future__ import annotations

import subprocess
from typing import Any

import numpy as np
from mujoco_playground import registry

from memorax.environments.adaptation import StepLimit, Timed, as_written, positive
from memorax.environments.environment import Environment
from memorax.environments.options import check_options
from memorax.environments.physics import PhysicsEnvironment, without_display
from memorax.types import PyTree


def ids() -> list[str]:
    """The names `make` knows."""
    return list(registry.ALL_ENVS)


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `kwargs` override its configuration (`episode_length`, `sim_dt`, `impl`, ...).

    The physics run in JAX where the configuration knows `impl` and it is not given.

    Raises:
        ValueError: if the configuration has no such field, or needs what we do not support.
        OSError: if the environment fetches its robot's files and cannot.
    """
    name = f"mujoco_playground::{id}"
    try:
        with as_written():
            config = registry.get_default_config(id)
            check_options(name, kwargs, list(config))
            # The repeat is an option of the package's training wrappers, which are not used.
            if kwargs.get("action_repeat", 1) != 1:
                raise ValueError(
                    f"action_repeat ({kwargs['action_repeat']!r}) of {name} must be 1: repeat by a wrapper"
                )
            overrides = {"impl": "jax", **kwargs} if "impl" in config else kwargs
            limit = positive(name, "episode_length", overrides.get("episode_length", config.episode_length))
            env = registry.load(id, config=config, config_overrides=overrides)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"{name} fetches its robot's files when it is first made, and could not: {reason}") from error
    params = StepLimit(limit)
    return PlaygroundEnvironment(env, params, id), params


class PlaygroundEnvironment(PhysicsEnvironment):
    """A MuJoCo Playground environment under our protocol."""

    def render(self, env_state: Timed, params: PyTree) -> np.ndarray:
        try:
            return np.asarray(self.env.render([env_state.state])[0], np.uint8)
        except Exception as error:  # each way to draw without a screen fails in its own
            raise without_display(error, f"mujoco_playground::{self.name}") from error
