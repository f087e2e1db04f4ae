"""Environments of the `pobax` package: partially observable tasks in JAX.

Tao et al., "Benchmarking Partial Observability in Reinforcement Learning with a Suite of Memory-Improvable Domains",
2025.
"""

from __future__ import annotations

import importlib
import importlib.util
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.adaptation import (
    NO_TIME_LIMIT,
    StepLimit,
    Timed,
    as_written,
    cast,
    convert_space,
    like,
    positive,
    raw_key,
    standing_in,
    strong,
)
from memorax.environments.adapted import AdaptedEnvironment
from memorax.environments.environment import Environment, StepResult
from memorax.environments.options import check_options
from memorax.environments.spaces import Box, Dict, Space, action_mask_space
from memorax.installation import install_command
from memorax.types import Key, PyTree


def _import_envs() -> Any:
    """Import the environments, with the module that the wheel of 0.0.1 lacks: it says where the package lies.

    Raises:
        ImportError: if the package or one that it forgets to declare is missing, or it lacks more than that.
    """
    spec = importlib.util.find_spec("pobax")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'pobax'", name="pobax")
    definitions = types.ModuleType("definitions")
    vars(definitions)["ROOT_DIR"] = str(Path(next(iter(spec.submodule_search_locations))).parent)
    try:
        with as_written(), standing_in({"definitions": definitions}):
            return importlib.import_module("pobax.envs")
    except ImportError as error:
        raise ImportError(
            f"pobax could not be imported ({error}): its wheel of 0.0.1 is not complete, "
            f"{install_command('pobax')} or install it from a copy of its repository"
        ) from error


pobax = _import_envs()
FOLDER = Path(pobax.__file__).parent

BATTLESHIPS = {3: (2,), 5: (3, 2), 10: (5, 4, 3, 2)}
"""Lengths of the ships by the side of the board."""


def _constructors() -> dict[str, Callable[[], Any]]:
    """How the package makes what it names; the classic POMDPs of 0.0.1 cannot be made."""
    made: dict[str, Callable[[], Any]] = {f"tmaze_{n}": partial(pobax.TMaze, hallway_length=n) for n in (5, 10, 20)}
    made |= {f"battleship_{side}": partial(pobax.Battleship, side, side, ships) for side, ships in BATTLESHIPS.items()}
    made |= {"pocman": pobax.PocMan, "simple_chain": pobax.SimpleChain}
    for path in sorted((FOLDER / "configs").glob("rocksample_*_config.json")):
        name = path.name.removesuffix("_config.json")
        made[name] = partial(pobax.RockSample, jax.random.PRNGKey(0), config_path=path)
    return made


CONSTRUCTORS = _constructors()


def ids() -> list[str]:
    """The names `make` knows."""
    return list(CONSTRUCTORS)


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `max_steps_in_episode` overrides the time limit that it declares.

    Raises:
        ValueError: if there is no such option, or it is not valid.
    """
    name = f"pobax::{id}"
    check_options(name, kwargs, ["max_steps_in_episode"])
    with as_written():
        env = CONSTRUCTORS[id]()
        declared = env.default_params
    # An environment that declares none has that of gymnax's base class, a single step.
    limit = declared.max_steps_in_episode if declared.max_steps_in_episode > 1 else NO_TIME_LIMIT
    params = StepLimit(positive(name, "max_steps_in_episode", kwargs.get("max_steps_in_episode", limit)))
    return PobaxEnvironment(env, params, id), params


class PobaxEnvironment(AdaptedEnvironment):
    """A POBAX environment under our protocol.

    The package declares time limits and leaves them to its users; they are kept here. Battleships observe whether the
    last shot was a hit and, in one vector with it, where none has fallen yet: that part is the `action_mask`.

    Args:
        env: the environment, without wrappers.
        default_params: parameters of the environment: its time limit.
        name: id of the environment.
    """

    def __init__(self, env: Any, default_params: StepLimit, name: str) -> None:
        super().__init__(env, default_params, name)
        with as_written():
            self._params = env.default_params
        if "time_limit" in vars(env):
            env.time_limit = NO_TIME_LIMIT
        with as_written():
            declared = convert_space(env.observation_space(self._params), f"pobax::{name}")
        # Not every observation keeps the bounds that are declared.
        unbounded = Box(-np.inf, np.inf, declared.shape, declared.dtype)
        self._declared_space = unbounded if isinstance(declared, Box) else declared

    def reset(self, key: Key, params: StepLimit) -> tuple[PyTree, PyTree]:
        with as_written():
            observation, state = self.env.reset_env(raw_key(key), self._params)
        return self._observe(observation), Timed(strong(state), jnp.zeros((), jnp.int32))

    def step_env(self, key: Key, env_state: Timed, action: PyTree, params: StepLimit) -> StepResult:
        with as_written():
            observation, state, reward, done, _ = self.env.step_env(raw_key(key), env_state.state, action, self._params)
        steps = env_state.steps + 1
        terminated = jnp.asarray(done, bool).reshape(())
        truncated = (steps >= params.max_steps) & ~terminated
        after = Timed(like(env_state.state, state), steps)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        return self._observe(observation), after, reward, terminated, truncated, {}

    def _observe(self, observation: Any) -> PyTree:
        observation = cast(self._declared_space, observation)
        if not isinstance(self.env, pobax.Battleship):
            return observation
        return {"observation": observation[:1], "action_mask": observation[1:] > 0}

    def observation_space(self, params: PyTree) -> Space:
        if not isinstance(self.env, pobax.Battleship):
            return self._declared_space
        return Dict({"observation": Box(0, 1, (1,)), "action_mask": action_mask_space(self.action_space(params))})

    def action_space(self, params: PyTree) -> Space:
        with as_written():
            return convert_space(self.env.action_space(self._params), f"pobax::{self.name}")
