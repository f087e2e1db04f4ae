"""Optimizers by name: those of optax that need nothing but a learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from memorax.parts import check_options, look_up, make_part
from memorax.types import PyTree

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adabelief": optax.adabelief,
    "adadelta": optax.adadelta,
    "adagrad": optax.adagrad,
    "adam": optax.adam,
    "adamax": optax.adamax,
    "adamw": optax.adamw,
    "amsgrad": optax.amsgrad,
    "lamb": optax.lamb,
    "lion": optax.lion,
    "nadam": optax.nadam,
    "nadamw": optax.nadamw,
    "novograd": optax.novograd,
    "radam": optax.radam,
    "rmsprop": optax.rmsprop,
    "sgd": optax.sgd,
    "yogi": optax.yogi,
}
"""An optimizer for a learning rate and options, by name."""

BELOW_ONE = ("b1", "b2", "decay", "momentum", "rho")
"""Options that weigh the past of a running mean: at 1 it would never learn, and above it grows without bound."""

NOT_NEGATIVE = ("eps", "eps_root", "weight_decay")

LAYER_BY_LAYER = ("lamb", "novograd")
"""Those that measure the size of each array of parameters. All others treat every number alike."""

DEFAULTS: dict[str, dict[str, Any]] = {"adam": {"eps": 1e-5}}
"""Options other than optax's: the epsilon that PPO's reference implementation uses (Huang et al., 2022, detail 3)."""


def make_optimizer(
    name: str, learning_rate: float, max_grad_norm: float, options: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Make an optimizer behind a limit on the gradient's global norm.

    Args:
        name: one of `OPTIMIZERS`, or `module:attribute`.
        learning_rate: Learning rate.
        max_grad_norm: Gradients are scaled down to this global norm.
        options: other parameters of the optimizer, by name.

    Raises:
        ValueError: if there is no such optimizer or option.
    """
    function = check_optimizer_options(name, options)
    options = {**DEFAULTS.get(name, {}), **options}
    made = make_part("optimizer", name, function, _is_optimizer, [learning_rate], options)
    optimizer = optax.chain(optax.clip_by_global_norm(max_grad_norm), made)
    # A mask is made for the arrays by their names.
    tells_arrays_apart = name not in OPTIMIZERS or name in LAYER_BY_LAYER or any("mask" in key for key in options)
    return optimizer if tells_arrays_apart else as_one_vector(optimizer)


def check_optimizer_options(name: str, options: Mapping[str, Any]) -> Callable[..., optax.GradientTransformation]:
    """The optimizer of a name, once it is known to take the options.

    Raises:
        ValueError: if there is no such optimizer or option, or a value is not finite or, of optax's, out of its range.
    """
    function = look_up("optimizer", name, OPTIMIZERS)
    what = f"optimizer {name!r}"
    check_options(what, function, options)
    for option, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{what}: option {option} ({value}) must be finite")
        if name not in OPTIMIZERS or value is None:
            continue
        if option in BELOW_ONE and not (isinstance(value, int | float) and 0 <= value < 1):
            raise ValueError(f"{what}: option {option} ({value!r}) must be a number from 0 up to, but without, 1")
        if option in NOT_NEGATIVE and not (isinstance(value, int | float) and value >= 0):
            raise ValueError(f"{what}: option {option} ({value!r}) must be a number, 0 or more")
    return function


def _is_optimizer(made: Any) -> bool:
    return all(callable(getattr(made, name, None)) for name in ("init", "update"))


def as_one_vector(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Let an optimizer see all parameters as one vector, which takes fewer operations than many small arrays.

    Args:
        optimizer: one that treats every number alike, or by the norm of all of them.

    Returns:
        The same optimizer, whose state is of vectors. Where parameters have several types it sees them as they are.
    """
    vector, by_array = optax.flatten(optimizer), optax.with_extra_args_support(optimizer)

    def choose(params: PyTree) -> optax.GradientTransformationExtraArgs:
        return vector if len({x.dtype for x in jax.tree.leaves(params)}) == 1 else by_array

    def init(params: PyTree) -> optax.OptState:
        return choose(params).init(params)

    def update(updates: PyTree, state: optax.OptState, params: PyTree = None, **extra: Any) -> Any:
        return choose(updates).update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(init, update)
