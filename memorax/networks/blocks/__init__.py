"""Blocks: modules that compose sequence models into deeper ones."""

from memorax.networks.blocks.block import Block
from memorax.networks.blocks.feedforward import FFN, GLU, Projection
from memorax.networks.blocks.mixture_of_experts import MoE
from memorax.networks.blocks.normalization import PostNorm, PreNorm
from memorax.networks.blocks.residual import Gated, GatedResidual, Residual
from memorax.networks.blocks.stack import Stack

__all__ = [
    "FFN",
    "GLU",
    "Block",
    "Gated",
    "GatedResidual",
    "MoE",
    "PostNorm",
    "PreNorm",
    "Projection",
    "Residual",
    "Stack",
]
