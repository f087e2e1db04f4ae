"""One function for every suite: `make("suite::Id")`."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from memorax.environments.environment import Environment
from memorax.environments.options import constructor_options, suggest
from memorax.environments.wrappers import WRAPPERS, Wrapper
from memorax.installation import install_command
from memorax.parts import check_annotated, is_own, load_own
from memorax.types import PyTree

# A suite is a module with `make` and `ids`, imported when it is first asked for. Its name is also that of its extra.
SUITES: Mapping[str, str] = {
    "ale": "memorax.environments.ale",
    "brax": "memorax.environments.brax",
    "craftax": "memorax.environments.craftax",
    "envpool": "memorax.environments.envpool",
    "gxm": "memorax.environments.gxm",
    "gymnasium": "memorax.environments.gymnasium",
    "gymnax": "memorax.environments.gymnax",
    "jaxmarl": "memorax.environments.jaxmarl",
    "jumanji": "memorax.environments.jumanji",
    "memory": "memorax.environments.memory",
    "mujoco_playground": "memorax.environments.mujoco_playground",
    "navix": "memorax.environments.navix",
    "pobax": "memorax.environments.pobax",
    "popgym": "memorax.environments.popgym",
    "popgym_arcade": "memorax.environments.popgym_arcade",
    "pufferlib": "memorax.environments.pufferlib",
    "xminigrid": "memorax.environments.xminigrid",
}

# Other names of suites.
ALIASES: Mapping[str, str] = {"popjym": "popgym"}


# Suites whose ids may name a module that registers environments when it is imported: "gymnasium::module:Id".
REGISTRIES = ("gymnasium",)


class Suite(Protocol):
    """What the module of a suite offers."""

    def ids(self) -> list[str]:
        """The names the suite can make."""

    def make(self, id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
        """The environment called `id` and its parameters; `kwargs` override what it is built with."""


def make(id: str | Any, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment, for instance `make("gymnax::CartPole-v1", max_steps_in_episode=200)`.

    Args:
        id: `"suite::Id"`, the id as the suite spells it; `registered()` lists them. `"gymnasium::module:Id"` imports a
            module first, which registers environments of one's own. `"module:attribute"` is a function of one's own
            that takes the settings and returns an environment, or `(env, env_params)`. Or an environment itself. One of
            one's own may be written for gymnax, and is adapted; fields of its parameters are settings too.
        kwargs: settings of the environment, each in place of its default; and, for any environment, a wrapper by
            its keyword, `mask_observation=(0, 2)`.

    Returns:
        `(env, env_params)`.

    Raises:
        ValueError: for an unknown suite, id or setting (naming the closest that exist), or a value that is not valid.
        ImportError: if the suite's packages are not installed (naming the command that installs them).
    """
    wrappers = {keyword: kwargs.pop(keyword) for keyword in WRAPPERS if keyword in kwargs}
    if not isinstance(id, str):
        env, env_params = _adapted(getattr(id, "__name__", type(id).__name__), id, None, kwargs)
        return wrapped(env, wrappers), env_params
    if is_own(id) and id.partition(":")[0] in SUITES:
        raise ValueError(f"environment {id!r} must be 'suite::Id', with two colons: {id.replace(':', '::')!r}")
    env, env_params = _make_own(id, kwargs) if is_own(id) else _make_of_suite(id, kwargs)
    return wrapped(env, wrappers), env_params


def wrapped(env: Environment, wrappers: Mapping[str, Any]) -> Environment:
    """An environment in wrappers by keyword, the innermost first; a wrapper that is switched off leaves it as it is."""
    for keyword, value in wrappers.items():
        inside, env = env, WRAPPERS[keyword](env, value)
        if env is not inside:
            cast(Wrapper, env).keyword = (keyword, value)
    return env


def _make_own(id: str, options: dict[str, Any]) -> tuple[Environment, PyTree]:
    part = load_own("environment", id)
    of_constructor = constructor_options(part) if isinstance(part, type) and _is_written_for_gymnax(part) else options
    built_with = {name: value for name, value in options.items() if name in of_constructor}
    check_annotated(f"environment {id!r}", part, built_with)
    try:
        made = part(**built_with)
    except TypeError as error:
        # Only a call with other options than a function takes says this; every other error is the user's own.
        if not any(words in str(error) for words in ("unexpected keyword argument", "missing", "takes no arguments")):
            raise
        given = f"the options {', '.join(options)}" if options else "no options"
        raise ValueError(f"environment {id!r} cannot be made with {given}: {error}") from error
    env, env_params = made if isinstance(made, tuple) else (made, None)
    others = {name: value for name, value in options.items() if name not in built_with}
    return _adapted(repr(id), env, env_params, others, of_constructor)


def _adapted(
    name: str, env: Any, env_params: PyTree, options: dict[str, Any], of_constructor: Iterable[str] = ()
) -> tuple[Environment, PyTree]:
    """An environment of one's own under our protocol, with its parameters; `options` are fields of these."""
    if isinstance(env, Environment):
        for option in options:
            raise ValueError(
                f"environment {name} is made already: {option} goes to what makes it{suggest(option, WRAPPERS)} "
                f"(for any environment: {', '.join(WRAPPERS)})"
            )
        return env, env.default_params if env_params is None else env_params
    if _is_written_for_gymnax(env) and not isinstance(env, type):
        return cast(Any, load("gymnax")).adapt(name, env, env_params, options, of_constructor)
    gymnasium = sys.modules.get("gymnasium")
    if gymnasium is not None and isinstance(env, gymnasium.Env):
        raise ValueError(
            f"environment {name} is one of gymnasium's: register it there (gymnasium.register) and make it by its id, "
            "'gymnasium::module:Id'"
        )
    if isinstance(env, type):
        raise ValueError(f"environment {name} is a class: make one, as in memorax.make({env.__name__}(...))")
    raise ValueError(f"environment {name} must be or return an Environment, or (env, env_params), and not {env!r}")


def _is_written_for_gymnax(env: Any) -> bool:
    """Whether an environment, or a class of them, has what gymnax asks for and not what we do."""
    return all(hasattr(env, name) for name in ("reset_env", "step_env", "default_params"))


def _make_of_suite(id: str, options: dict[str, Any]) -> tuple[Environment, PyTree]:
    suite_name, separator, env_id = id.partition("::")
    if not separator:
        raise ValueError(f"environment {id!r} names no suite (valid: 'suite::Id'){_suggest_anywhere(id)}")
    suite_name = ALIASES.get(suite_name, suite_name)
    if suite_name not in SUITES:
        close = suggest(suite_name, SUITES) or _suggest_own(suite_name, env_id) or _suggest_anywhere(env_id)
        raise ValueError(f"unknown suite {suite_name!r} in {id!r} (valid: {', '.join(SUITES)}){close}")
    suite = load(suite_name)
    if suite_name in REGISTRIES:
        _import_module_of(id, env_id)
    known = [f"{suite_name}::{name}" for name in suite.ids()]
    if f"{suite_name}::{_without_module(env_id)}" not in known:
        close = suggest(_without_module(env_id), known) or f" (valid: {', '.join(known)})"
        raise ValueError(f"unknown environment {id!r}{close}")
    return suite.make(env_id, **options)


def _suggest_own(module: str, attribute: str) -> str:
    """How a part of a module of one's own is named, where there is such a module."""
    if not module.isidentifier() or not (Path(f"{module}.py").is_file() or module in sys.modules):
        return ""
    return f": did you mean '{module}:{attribute}', of the module {module}?"


def registered() -> dict[str, list[str] | str]:
    """For every suite the ids it can make, or how to install it where it is missing."""
    listing: dict[str, list[str] | str] = {}
    for name in SUITES:
        try:
            listing[name] = load(name).ids()
        except ImportError as error:
            listing[name] = str(error)
    return listing


def load(name: str) -> Suite:
    """Import the suite called `name`.

    Raises:
        ImportError: if a package it needs is missing or does not fit the others, in one line with the command that
            installs it.
    """
    try:
        with warnings.catch_warnings():
            # Packages warn as they are imported, of things that the user cannot change.
            warnings.simplefilter("ignore")
            return cast(Suite, importlib.import_module(SUITES[name]))
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "memorax":
            raise
        raise ImportError(
            f"the {name} environments need the package {error.name!r}: {install_command(name)}"
        ) from error
    except Exception as error:
        # An ImportError that names no module is a suite's own word on what it lacks.
        if isinstance(error, ImportError) and (error.name is None or error.name.startswith("memorax")):
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise ImportError(
            f"the {name} environments could not be imported ({type(error).__name__}: {reason}): their packages do not "
            f"fit together, {install_command(name, upgrade=True)}"
        ) from error


def _import_module_of(id: str, env_id: str) -> None:
    """Import what an id names before its last colon, if it does."""
    module, separator, _ = env_id.rpartition(":")
    if not separator:
        return
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{id!r} names the module {module!r}, which cannot be imported: {error}") from error


def _without_module(env_id: str) -> str:
    """An id without the module it names."""
    return env_id.rpartition(":")[2]


def _suggest_anywhere(env_id: str) -> str:
    """The closest ids of every suite that is installed."""
    listing = registered().items()
    return suggest(env_id, [f"{suite}::{name}" for suite, ids in listing if isinstance(ids, list) for name in ids])
