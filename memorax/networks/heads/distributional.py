"""Names for value heads with a distribution of returns: `DiscreteQNetwork` and `VNetwork` with a representation.

Where the other fields matter too, write `DiscreteQNetwork(4, C51(51, -10.0, 10.0), dueling=True)`.
"""

from __future__ import annotations

from memorax.networks.heads.action_value import DiscreteQNetwork
from memorax.networks.heads.c51 import C51
from memorax.networks.heads.hl_gauss import HLGauss
from memorax.networks.heads.quantiles import Quantiles
from memorax.networks.heads.value import VNetwork


def C51QNetwork(action_dim: int, num_atoms: int = 51, low: float = -10.0, high: float = 10.0) -> DiscreteQNetwork:
    """The values of actions as distributions over atoms (see `C51`)."""
    return DiscreteQNetwork(action_dim, C51(num_atoms, low, high))


def QuantileQNetwork(action_dim: int, num_quantiles: int = 51, huber: float = 1.0) -> DiscreteQNetwork:
    """The values of actions as quantiles (see `Quantiles`)."""
    return DiscreteQNetwork(action_dim, Quantiles(num_quantiles, huber))


def HLGaussQNetwork(
    action_dim: int, num_bins: int = 101, low: float = -10.0, high: float = 10.0, sigma: float = 0.75
) -> DiscreteQNetwork:
    """The values of actions as histograms (see `HLGauss`)."""
    return DiscreteQNetwork(action_dim, HLGauss(num_bins, low, high, sigma))


def C51VNetwork(num_atoms: int = 51, low: float = -10.0, high: float = 10.0) -> VNetwork:
    """The value of a timestep as a distribution over atoms (see `C51`)."""
    return VNetwork(C51(num_atoms, low, high))


def QuantileVNetwork(num_quantiles: int = 51, huber: float = 1.0) -> VNetwork:
    """The value of a timestep as quantiles (see `Quantiles`)."""
    return VNetwork(Quantiles(num_quantiles, huber))


def HLGaussVNetwork(num_bins: int = 101, low: float = -10.0, high: float = 10.0, sigma: float = 0.75) -> VNetwork:
    """The value of a timestep as a histogram (see `HLGauss`)."""
    return VNetwork(HLGauss(num_bins, low, high, sigma))
