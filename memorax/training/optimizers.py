"""Optimizers by name: those of optax that need nothing but a learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optax

from memorax.parts import check_options, look_up

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
    function = look_up("optimizer", name, OPTIMIZERS)
    check_options(f"optimizer {name!r}", function, options)
    optimizer = function(learning_rate, **{**DEFAULTS.get(name, {}), **options})
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optimizer)
