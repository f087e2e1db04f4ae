"""Networks and sequences small enough to be differenced number by number."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box
from memorax.networks import FeatureExtractor, Network, SpaceEncoder, heads
from memorax.networks.network import initialize
from memorax.types import Carry, PyTree, Timestep

FEATURES = 3
DONE = np.array([[1, 0, 0, 0, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0, 0, 0]], bool)


def network(torso: nn.Module, head: nn.Module | None = None) -> Network:
    """A network whose features are its observations."""
    extractor = FeatureExtractor(observation_extractor=SpaceEncoder(Box(-1.0, 1.0, (FEATURES,))))
    return Network(extractor, torso, heads.Categorical(2) if head is None else head)


def timesteps(done: np.ndarray = DONE, seed: int = 0) -> Timestep:
    observation = np.random.default_rng(seed).normal(size=(*done.shape, FEATURES)).astype(np.float32)
    zeros = jnp.zeros(done.shape)
    return Timestep(jnp.asarray(observation), zeros.astype(jnp.int32), zeros, jnp.asarray(done))


def variables(model: Network, steps: Timestep) -> tuple[PyTree, Carry]:
    """Its variables, none of them small, and its first carry."""
    params, carry = initialize(model, jax.random.key(0), jax.tree.map(lambda x: x[:, 0], steps))
    head = jax.tree.map(lambda x: 30.0 * x, params["params"]["head"])
    return {"params": {**params["params"], "head": head}}, carry
