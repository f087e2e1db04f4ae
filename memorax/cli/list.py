"""`memorax list`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import tyro

from memorax.algorithms import ALGORITHMS
from memorax.cli.arguments import call_command
from memorax.environments.make import SUITES, registered
from memorax.environments.wrappers import WRAPPERS
from memorax.laboratory.presets import describe_presets
from memorax.loggers import LOGGERS
from memorax.networks import TORSOS
from memorax.networks.torsos import DESCRIPTIONS
from memorax.parts import option_defaults, suggest
from memorax.training.optimizers import OPTIMIZERS

FEATURES = 64
"""The width at which the parameters of torsos are counted, that of `memorax train`."""


def main(arguments: list[str]) -> int:
    """Show what there is to choose from."""

    def command(kind: tyro.conf.Positional[str] = "all", name: tyro.conf.Positional[str] = "") -> None:
        """Show what there is to choose from.

        Without a kind it is an overview. `memorax list environments popgym` shows the ids of one suite, `memorax list
        torsos` counts the parameters of each and shows its options.

        Args:
            kind: What to list: environments, wrappers, algorithms, torsos, optimizers, loggers or presets. Default:
                an overview.
            name: A suite of environments, or a part of a name. Default: everything of the kind.
        """
        for line in lines(kind, name):
            print(line, flush=True)

    return call_command(command, "list", arguments)


def lines(kind: str, name: str) -> Iterator[str]:
    """What the command prints.

    Args:
        kind: a key of `KINDS`, or `all`.
        name: a part of the names to list.

    Raises:
        ValueError: if the kind does not exist, or no name has that part.
    """
    if kind == "all":
        for title, listing in OVERVIEW.items():
            yield title
            yield from (f"  {line}" for line in listing(""))
        return
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}{suggest(kind, KINDS) or ':'} choose from {', '.join(KINDS)}")
    found = False
    for line in KINDS[kind](name):
        found = True
        yield line
    if not found:
        raise ValueError(f"there are no {kind} with {name!r} in their name: `memorax list {kind}` shows them all")


def list_suites(name: str) -> Iterator[str]:
    """A line for each suite of environments: how many ids it has and one of them, or how to install it."""
    suites = {suite: ids for suite, ids in registered().items() if name in suite}
    for suite, ids in suites.items():
        told = ids if isinstance(ids, str) else f"{len(ids)} environments, such as {suite}::{ids[0]}"
        yield f"{suite:18} {told}"


def list_environments(name: str) -> Iterator[str]:
    """The ids of a suite (or how to install it), or the ids of all suites that have a part in common."""
    for suite, ids in registered().items():
        if isinstance(ids, str):
            yield from [ids] if suite == name else []
        elif name not in SUITES:
            yield from (f"{suite}::{id}" for id in ids if name.lower() in id.lower())
        elif suite == name:
            yield from (f"{suite}::{id}" for id in ids)


def list_algorithms(name: str) -> Iterator[str]:
    """A line for each algorithm."""
    return _explained({key: _first_line(algorithm) for key, (algorithm, _) in ALGORITHMS.items()}, name)


def list_wrappers(name: str) -> Iterator[str]:
    """A line for each wrapper, by the keyword that is an environment option."""
    return _explained({key: _first_line(wrapper) for key, wrapper in WRAPPERS.items()}, name)


def list_optimizers(name: str) -> Iterator[str]:
    """The names of the optimizers, with what they can be given as options."""
    return (f"{key:18} options: {', '.join(option_defaults(OPTIMIZERS[key]))}" for key in OPTIMIZERS if name in key)


def list_loggers(name: str) -> Iterator[str]:
    """A line for each logger."""
    return _explained({key: _first_line(logger) for key, logger in LOGGERS.items()}, name)


def list_presets(name: str) -> Iterator[str]:
    """A line for each preset: its task, the return it reached and where its curve is."""
    return _explained(describe_presets(), name)


def list_torsos(name: str) -> Iterator[str]:
    """A line for each torso."""
    return _explained(DESCRIPTIONS, name)


def count_torsos(name: str) -> Iterator[str]:
    """A line for each torso, with the number of its parameters at the default width and its options."""
    for key, explanation in DESCRIPTIONS.items():
        if name.lower() in key:
            options = " ".join(f"{option}={default}" for option, default in option_defaults(TORSOS[key]).items())
            told = f" (options: {options})" if options else ""
            yield f"{key:18} {_count(TORSOS[key]):>8,} parameters  {explanation}{told}"


def _count(make_torso: Callable[[int], nn.Module]) -> int:
    """The number of parameters of a torso as wide as its inputs; nothing is computed."""

    def initialize(key: jax.Array) -> object:
        torso = make_torso(FEATURES)
        carry = torso.initialize_carry(key, (1, FEATURES))
        return torso.init(key, jnp.zeros((1, 1, FEATURES)), jnp.zeros((1, 1), bool), carry)

    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(initialize, jax.random.key(0))))


def _explained(explanations: Mapping[str, str], name: str) -> Iterator[str]:
    width = max(18, *map(len, explanations))
    return (f"{key:{width}} {explanation}" for key, explanation in explanations.items() if name.lower() in key)


def _first_line(member: object) -> str:
    return (inspect.getdoc(member) or "").partition("\n")[0].partition(". ")[0].rstrip(".")


OVERVIEW: Mapping[str, Callable[[str], Iterator[str]]] = {
    "environments": list_suites,
    "wrappers": list_wrappers,
    "algorithms": list_algorithms,
    "torsos": list_torsos,
    "loggers": list_loggers,
}

KINDS: Mapping[str, Callable[[str], Iterator[str]]] = {
    **OVERVIEW,
    "environments": list_environments,
    "torsos": count_torsos,
    "optimizers": list_optimizers,
    "presets": list_presets,
}
