"""Environments of the `brax` package: continuous control.

Freeman et al., "Brax - A Differentiable Physics Engine for Large Scale Rigid Body Simulation", 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from brax import envs

from memorax.environments.adaptation import StepLimit, Timed, as_written, positive
from memorax.environments.environment import Environment
from memorax.environments.options import check_options, constructor_options
from memorax.environments.physics import PhysicsEnvironment, without_display
from memorax.types import PyTree

EPISODE_LENGTH = 1000
"""As in the package's own `create`."""

BACKENDS = ("generalized", "mjx", "positional", "spring")


def ids() -> list[str]:
    """The names `make` knows: those of brax, with the ones the user registered there."""
    return list(envs._envs)


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `kwargs` are arguments of its constructor, such as `backend`, and `episode_length`.

    Raises:
        ValueError: if there is no such argument, or it is not valid.
    """
    name = f"brax::{id}"
    arguments = [*constructor_options(envs._envs[id]), "n_frames"]
    check_options(name, kwargs, ["episode_length", *arguments])
    if kwargs.get("backend", BACKENDS[0]) not in BACKENDS:
        raise ValueError(f"backend ({kwargs['backend']!r}) of {name} must be one of {', '.join(BACKENDS)}")
    params = StepLimit(positive(name, "episode_length", kwargs.pop("episode_length", EPISODE_LENGTH)))
    with as_written():
        env = envs.get_environment(id, **kwargs)
    return BraxEnvironment(env, params, id), params


class BraxEnvironment(PhysicsEnvironment):
    """A Brax environment under our protocol."""

    def render(self, env_state: Timed, params: PyTree) -> np.ndarray:
        try:
            return np.asarray(self.env.render([env_state.state.pipeline_state])[0], np.uint8)
        except Exception as error:  # each way to draw without a screen fails in its own
            raise without_display(error, f"brax::{self.name}") from error
