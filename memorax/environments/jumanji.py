"""Environments of the `jumanji` package: logic, packing, routing and swarms.

Bonnet et al., "Jumanji: a Diverse Suite of Scalable Reinforcement Learning Environments in JAX", 2023.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import jumanji
import numpy as np
from jumanji import registration, specs
from matplotlib.animation import AbstractMovieWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg

from memorax.environments.adaptation import NO_TIME_LIMIT, as_written, like, positive, raw_key, strong
from memorax.environments.adapted import AdaptedEnvironment
from memorax.environments.environment import Environment, StepResult
from memorax.environments.options import check_options, constructor_options
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space, action_mask_space
from memorax.types import Key, PyTree

MASK, JOINT = "action_mask", "joint_action_mask"


def ids() -> list[str]:
    """The names `make` knows: those of jumanji, with the ones the user registered there."""
    return sorted(jumanji.registered_environments())


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `kwargs` are arguments of its constructor, such as `time_limit`.

    Raises:
        ValueError: if there is no such argument, or a space of the environment is not supported.
        OSError: if the environment downloads its data and cannot.
    """
    name = f"jumanji::{id}"
    check_options(name, kwargs, constructor_options(registration.load(registration._REGISTRY[id].entry_point)))
    if kwargs.get("time_limit") is not None:
        kwargs["time_limit"] = positive(name, "time_limit", kwargs["time_limit"])
    try:
        with as_written():
            env = jumanji.make(id, **kwargs)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"{name} downloads its data when it is made, and could not: {reason}") from error
    return JumanjiEnvironment(env, id), None


class JumanjiEnvironment(AdaptedEnvironment):
    """A Jumanji environment under our protocol.

    Observations are dictionaries by the names of their parts. A mask of legal actions is `action_mask`, bool `[n]`, or
    `[sum(nvec)]` where several choices are made at once and each has a mask; where it is one of their combinations, it
    is `joint_action_mask`, bool `[*nvec]`, which is seen and not enforced unless `flatten_action` makes one choice of
    them. Where several agents are rewarded, their rewards are summed: one policy acts for all.

    Args:
        env: the environment, without an auto-reset.
        name: id of the environment.
    """

    def __init__(self, env: Any, name: str) -> None:
        super().__init__(env, None, name)
        # Most environments report their time limit as a failure; one without a limit tells the two apart.
        self._endless = copy.copy(env)
        if "time_limit" in vars(env):
            self._endless.time_limit = NO_TIME_LIMIT
        self._declared_space = _convert(env.observation_spec, f"jumanji::{name}")
        self._observation_space, self._action_space = _name_mask(
            self._declared_space, _convert(env.action_spec, f"jumanji::{name}")
        )

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        with as_written():
            state, timestep = self.env.reset(raw_key(key))
        return self._observe(timestep.observation), strong(state)

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        action = jnp.asarray(action, self.env.action_spec.dtype)
        with as_written():
            state, timestep = self.env.step(env_state, action)
            terminated = self._endless.step(env_state, action)[1].last()
        observation = self._observe(timestep.observation)
        reward = jnp.sum(jnp.asarray(timestep.reward, jnp.float32))
        truncated = timestep.last() & ~terminated
        return observation, like(env_state, state), reward, terminated, truncated, dict(timestep.extras)

    def _observe(self, observation: Any) -> PyTree:
        """An observation in the types and shapes of our space."""
        observed = _observe(self._declared_space, observation)
        for name in (JOINT, MASK):
            if isinstance(self._observation_space, Dict) and name in self._observation_space.spaces:
                observed[name] = observed.pop(MASK).reshape(self._observation_space.spaces[name].shape)
        return observed

    def observation_space(self, params: PyTree) -> Space:
        return self._observation_space

    def action_space(self, params: PyTree) -> Space:
        return self._action_space

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        frame, state = _Frame(), jax.tree.map(jnp.asarray, env_state)
        with as_written(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Twice, since some animations show only what lies between two states.
            self.env.animate([state, state]).save("", writer=frame)
        return frame.image


class _Frame(AbstractMovieWriter):
    """Keeps the last frame of an animation, which is how every Jumanji environment can draw itself."""

    image: np.ndarray

    @classmethod
    def isAvailable(cls) -> bool:
        return True

    def setup(self, fig: Any, outfile: Any, dpi: float | None = None) -> None:
        self.fig = fig

    def grab_frame(self, **savefig_kwargs: Any) -> None:
        canvas = FigureCanvasAgg(self.fig)
        canvas.draw()
        self.image = np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def finish(self) -> None:
        pass


def _convert(spec: Any, name: str) -> Space:
    """Our space for a spec of Jumanji.

    Raises:
        ValueError: if it is of a kind we do not have.
    """
    if isinstance(spec, specs.DiscreteArray) and spec.name == "step_count":
        # A measure, no choice; and the last step of an episode shows one more than is declared.
        return Box(0, int(spec.num_values), (), spec.dtype)
    if isinstance(spec, specs.DiscreteArray):
        return Discrete(int(spec.num_values))
    if isinstance(spec, specs.MultiDiscreteArray) and spec.num_values.ndim == 1:
        return MultiDiscrete(tuple(int(n) for n in spec.num_values))
    if isinstance(spec, specs.BoundedArray):
        low, high = np.asarray(spec.minimum, spec.dtype), np.asarray(spec.maximum, spec.dtype)
        return Box(low, high, spec.shape, spec.dtype)
    if isinstance(spec, specs.Array):
        # Numbers without bounds, integers too, are measures: only a float is unbounded.
        return Box(0, 1, spec.shape, bool) if spec.dtype == bool else Box(-np.inf, np.inf, spec.shape, jnp.float32)
    if spec._specs:
        return Dict({part: _convert(inner, name) for part, inner in spec._specs.items()})
    raise ValueError(f"{name} has a space that is not supported: {type(spec).__name__}")


def _name_mask(observation_space: Space, action_space: Space) -> tuple[Space, Space]:
    """The two spaces, given those declared: a mask of combinations goes by another name than one of choices."""
    if not isinstance(observation_space, Dict) or MASK not in observation_space.spaces:
        return observation_space, action_space
    parts = dict(observation_space.spaces)
    shape = parts.pop(MASK).shape
    if isinstance(action_space, Box):
        # MultiCVRP declares integers between bounds, one more than there are, for choices with a mask each.
        action_space = MultiDiscrete((shape[1],) * shape[0])
    if isinstance(action_space, MultiDiscrete) and shape == action_space.nvec:
        return Dict({**parts, JOINT: Box(0, 1, shape, bool)}), action_space
    return Dict({**parts, MASK: action_mask_space(action_space)}), action_space


def _observe(space: Space, observation: Any) -> PyTree:
    """The parts of an observation by name, in the types of their spaces."""
    if isinstance(space, Dict):
        return {part: _observe(inner, getattr(observation, part)) for part, inner in space.spaces.items()}
    return jnp.asarray(observation, space.dtype)
