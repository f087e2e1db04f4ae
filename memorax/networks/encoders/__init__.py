"""Encoders: what turns observations, actions, rewards and ends of episodes into features `[B, T, F]`."""

from memorax.networks.encoders.cnn import CNN
from memorax.networks.encoders.dict_encoder import DictEncoder
from memorax.networks.encoders.grid_embedding import GridEmbedding
from memorax.networks.encoders.impala import ImpalaCNN
from memorax.networks.encoders.mlp import MLP
from memorax.networks.encoders.observation_encoder import observation_encoder
from memorax.networks.encoders.space_encoder import OneHot, SpaceEncoder
from memorax.networks.encoders.space_image import SpaceImage
from memorax.networks.encoders.sparse_encoder import sparse_encoder
from memorax.networks.encoders.vit import PatchEmbedding, ViT

__all__ = [
    "CNN",
    "MLP",
    "DictEncoder",
    "GridEmbedding",
    "ImpalaCNN",
    "OneHot",
    "PatchEmbedding",
    "SpaceEncoder",
    "SpaceImage",
    "ViT",
    "observation_encoder",
    "sparse_encoder",
]
