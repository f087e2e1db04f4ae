"""Heads: what a network's features `[B, T, F]` become, policies or values.

Policy heads return a distribution (see `memorax.networks.distributions`) with batch shape `[B, T]`, value heads float32
arrays that the head itself reads (see `ValueHead`). A head computes in `dtype` and returns float32 in any case.
"""

from memorax.networks.heads.action_value import ContinuousQNetwork, DiscreteQNetwork, DuelingQNetwork
from memorax.networks.heads.actor_critic import ActorCritic
from memorax.networks.heads.c51 import C51
from memorax.networks.heads.defaults import (
    HEAD_NAMES,
    POLICY_HEADS,
    Q_HEADS,
    V_HEADS,
    bounded_policy_head,
    head_by_name,
    policy_head,
    q_head,
    twin_q_head,
    v_head,
)
from memorax.networks.heads.distributional import (
    C51QNetwork,
    C51VNetwork,
    HLGaussQNetwork,
    HLGaussVNetwork,
    QuantileQNetwork,
    QuantileVNetwork,
)
from memorax.networks.heads.head import Head
from memorax.networks.heads.hl_gauss import HLGauss
from memorax.networks.heads.policy import Beta, Categorical, Gaussian, MultiCategorical, SquashedGaussian
from memorax.networks.heads.quantiles import Quantiles
from memorax.networks.heads.representation import Representation, Scalar
from memorax.networks.heads.temperature import Temperature
from memorax.networks.heads.twin import Twin
from memorax.networks.heads.value import HordeHead, ValueHead, VNetwork

__all__ = [
    "C51",
    "HEAD_NAMES",
    "POLICY_HEADS",
    "Q_HEADS",
    "V_HEADS",
    "ActorCritic",
    "Beta",
    "C51QNetwork",
    "C51VNetwork",
    "Categorical",
    "ContinuousQNetwork",
    "DiscreteQNetwork",
    "DuelingQNetwork",
    "Gaussian",
    "HLGauss",
    "HLGaussQNetwork",
    "HLGaussVNetwork",
    "Head",
    "HordeHead",
    "MultiCategorical",
    "QuantileQNetwork",
    "QuantileVNetwork",
    "Quantiles",
    "Representation",
    "Scalar",
    "SquashedGaussian",
    "Temperature",
    "Twin",
    "VNetwork",
    "ValueHead",
    "bounded_policy_head",
    "head_by_name",
    "policy_head",
    "q_head",
    "twin_q_head",
    "v_head",
]
