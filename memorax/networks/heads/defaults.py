"""Heads by name, and the default head of each kind of action space."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import flax.linen as nn

from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space
from memorax.networks.heads.action_value import ContinuousQNetwork, DiscreteQNetwork, DuelingQNetwork
from memorax.networks.heads.actor_critic import ActorCritic
from memorax.networks.heads.c51 import C51
from memorax.networks.heads.distributional import C51VNetwork, HLGaussVNetwork, QuantileVNetwork
from memorax.networks.heads.fit import KINDS, has_default, no_head
from memorax.networks.heads.head import Head
from memorax.networks.heads.hl_gauss import HLGauss
from memorax.networks.heads.policy import Beta, Categorical, Gaussian, MultiCategorical, SquashedGaussian
from memorax.networks.heads.quantiles import Quantiles
from memorax.networks.heads.representation import Representation, Scalar
from memorax.networks.heads.twin import Twin
from memorax.networks.heads.value import RepresentedValueHead, ValueHead, VNetwork

HeadT = TypeVar("HeadT", bound=Head)


def _size(space: Space) -> int:
    """How many actions, or numbers of an action, a space has."""
    return space.n if isinstance(space, Discrete) else space.shape[0]


def _categorical(space: Space) -> Head:
    return MultiCategorical(tuple(space.nvec)) if isinstance(space, MultiDiscrete) else Categorical(_size(space))


def _q_network(representation: Representation) -> Callable[[Space], ValueHead]:
    def make(space: Space) -> ValueHead:
        if isinstance(space, Box):
            return ContinuousQNetwork(representation)
        return DiscreteQNetwork(_size(space), representation)

    return make


POLICY_HEADS: dict[str, Callable[[Space], Head]] = {
    "categorical": _categorical,
    "gaussian": lambda space: Gaussian(_size(space)),
    "squashed_gaussian": lambda space: SquashedGaussian(_size(space)),
    "beta": lambda space: Beta(_size(space)),
}
"""Policy heads by name: functions of the action space."""

Q_HEADS: dict[str, Callable[[Space], ValueHead]] = {
    "discrete": lambda space: DiscreteQNetwork(_size(space)),
    "continuous": lambda space: ContinuousQNetwork(),
    "dueling": lambda space: DuelingQNetwork(_size(space)),
    "c51": _q_network(C51()),
    "quantile": _q_network(Quantiles()),
    "hl_gauss": _q_network(HLGauss()),
}
"""Action-value heads by name: functions of the action space."""

V_HEADS: dict[str, Callable[[], ValueHead]] = {
    "scalar": VNetwork,
    "c51": C51VNetwork,
    "quantile": QuantileVNetwork,
    "hl_gauss": HLGaussVNetwork,
}
"""State-value heads by name."""


def policy_head(space: Space, name: str | None = None) -> Head:
    """A policy head for an action space.

    Args:
        space: the action space; the numbers of a bounded box reach the head as -1 to 1.
        name: one of `POLICY_HEADS`; by default "gaussian" for a `Box` and "categorical" else.

    Raises:
        ValueError: if there is no such head, or it is for another kind of space.
    """
    default = "gaussian" if isinstance(space, Box) else "categorical"
    return _named("policy", POLICY_HEADS, space, name or default)


def q_head(space: Space, name: str | None = None) -> ValueHead:
    """An action-value head for an action space.

    Args:
        space: the action space.
        name: one of `Q_HEADS`; by default "continuous" for a `Box` and "discrete" else.

    Raises:
        ValueError: if there is no such head, or it is for another kind of space.
    """
    default = "continuous" if isinstance(space, Box) else "discrete"
    return _named("action-value", Q_HEADS, space, name or default)


def bounded_policy_head(space: Space) -> Head:
    """The default policy head of an action space, squashed into the bounds of a `Box` that has any."""
    return policy_head(space, "squashed_gaussian" if isinstance(space, Box) and space.bounded else None)


def twin_q_head(space: Space) -> Twin:
    """The default action-value head of an action space twice, each with two hidden layers and the squared error."""
    return Twin(q_head(space).clone(hidden_features=(256, 256), representation=Scalar()))


def v_head(name: str = "scalar") -> ValueHead:
    """A state-value head, which fits every action space.

    Args:
        name: one of `V_HEADS`.

    Raises:
        ValueError: if there is no such head.
    """
    return _find("state-value", V_HEADS, name)()


REPRESENTATIONS: dict[str, Callable[[], Representation]] = {
    "scalar": Scalar,
    "c51": C51,
    "quantile": Quantiles,
    "hl_gauss": HLGauss,
}
"""How values are represented, by name."""

HEAD_NAMES = tuple(dict.fromkeys((*POLICY_HEADS, "dueling", *REPRESENTATIONS)))
"""Names that `head_by_name` knows."""


def head_by_name(head: nn.Module, space: Space, name: str) -> nn.Module:
    """The head of a name in the place of one that an algorithm chose.

    Args:
        head: what the algorithm chose.
        space: the action space.
        name: of a policy head, for the place of a policy head; "dueling" or the name of a representation, for that of
            a head of values, which keeps everything else.

    Returns:
        The other head, or `head` itself where the name is for another kind of head.

    Raises:
        ValueError: if there is no such name, or the policy head does not fit the action space.
    """
    if name not in HEAD_NAMES:
        raise ValueError(f"there is no head {name!r}: choose one of {', '.join(HEAD_NAMES)}")
    match head:
        case Twin():
            return head.clone(head=head_by_name(head.head, space, name))
        case ActorCritic():
            policy, value = (head_by_name(part, space, name) for part in (head.policy_head, head.value_head))
            return head.clone(policy_head=policy, value_head=value)
        case DiscreteQNetwork() if name == "dueling":
            return head.clone(dueling=True)
        case RepresentedValueHead() if name in REPRESENTATIONS:
            return head.clone(representation=REPRESENTATIONS[name]())
        case ValueHead():
            return head
        case _:
            return policy_head(space, name) if name in POLICY_HEADS else head


def _named(values: str, table: dict[str, Callable[[Space], HeadT]], space: Space, name: str) -> HeadT:
    make = _find(values, table, name)
    if not has_default(space, KINDS[values]):
        raise no_head(values, space, KINDS[values])
    head = make(space)
    bounded = isinstance(space, Box) and space.bounded
    head.check_action_space(Box(-1.0, 1.0, space.shape) if bounded else space)
    return head


def _find(values: str, table: dict[str, Callable[..., HeadT]], name: str) -> Callable[..., HeadT]:
    if name not in table:
        raise ValueError(f"there is no {values} head {name!r}: choose one of {', '.join(table)}")
    return table[name]
