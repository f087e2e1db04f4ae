"""Heads: what a network's features `[B, T, F]` become, policies or values.

Policy heads return a distribution (see `memorax.networks.distributions`) with batch shape `[B, T]`, value heads float32
arrays that the head itself reads (see `ValueHead`). A head computes in `dtype` and returns float32 in any case.
"""

from memorax.networks.heads.action_value import ContinuousQNetwork, DiscreteQNetwork, DuelingQNetwork
from memorax.networks.heads.defaults import policy_head, q_head
from memorax.networks.heads.head import Head
from memorax.networks.heads.policy import Categorical, Gaussian, MultiCategorical, SquashedGaussian
from memorax.networks.heads.representation import Representation, Scalar
from memorax.networks.heads.value import ValueHead, VNetwork

__all__ = [
    "Categorical",
    "ContinuousQNetwork",
    "DiscreteQNetwork",
    "DuelingQNetwork",
    "Gaussian",
    "Head",
    "MultiCategorical",
    "Representation",
    "Scalar",
    "SquashedGaussian",
    "VNetwork",
    "ValueHead",
    "policy_head",
    "q_head",
]
