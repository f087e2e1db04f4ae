"""A network: feature extractor, torso, head; and the one function that runs it over timesteps."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from memorax.types import Array, Carry, Key, Metrics, PyTree, Timestep


class Network(nn.Module):
    """Feature extractor -> torso (sequence model) -> head.

    Attributes:
        feature_extractor: maps `(observation, action, reward, done)` to features `[B, T, F]`.
        torso: a sequence model, `(features, done, carry) -> (carry, outputs [B, T, D])`.
        head: maps outputs to a distribution or to values.
    """

    feature_extractor: nn.Module
    torso: nn.Module
    head: nn.Module

    def __call__(
        self,
        observation: PyTree,
        action: PyTree,
        reward: Array,
        done: Array,
        initial_carry: Carry,
        *head_inputs: Any,
    ) -> tuple[Carry, Any]:
        """Run over a sequence.

        Args:
            observation: pytree of `[B, T, ...]`.
            action: previous actions `[B, T, ...]`.
            reward: previous rewards `[B, T]`.
            done: `[B, T]` bool, true where the observation is the first of an episode.
            initial_carry: the torso's carry before the first step.
            *head_inputs: what the head takes besides features (the action, for a continuous Q-network).

        Returns:
            `(carry, output)`: the torso's carry after the last step and the head's output, leaves `[B, T, ...]`.
        """
        carry, outputs = self.encode(observation, action, reward, done, initial_carry)
        return carry, self.head(outputs, *head_inputs)

    def encode(
        self, observation: PyTree, action: PyTree, reward: Array, done: Array, initial_carry: Carry
    ) -> tuple[Carry, Array]:
        """`__call__` without the head: `(carry, torso outputs [B, T, D])`."""
        features = self.feature_extractor(observation, action, reward, done)
        return self.torso(features, done, initial_carry)

    def initialize_carry(self, key: Key, timestep: Timestep) -> Carry:
        """The torso's carry at the start of an episode, a pytree of `[B, ...]`.

        Args:
            key: random key.
            timestep: one step, leaves `[B, ...]`; only its shapes are used.
        """

        def features(timestep: Timestep) -> Array:
            sequence = jax.tree.map(lambda x: x[:, None], timestep)
            inputs = (sequence.observation, sequence.action, sequence.reward, sequence.done)
            return self.feature_extractor.init_with_output(jax.random.key(0), *inputs)[0]

        shape = jax.eval_shape(features, timestep).shape
        return self.torso.initialize_carry(key, (shape[0], shape[-1]))


def unroll(
    network: Network,
    params: PyTree,
    timesteps: Timestep,
    carry: Carry,
    burn_in: int = 0,
    head_inputs: tuple[Any, ...] = (),
) -> tuple[Carry, Any]:
    """Run a network over timesteps: every call of a network in the library is this one.

    Args:
        network: the network.
        params: its variables.
        timesteps: leaves `[B, T, ...]`.
        carry: the torso's carry before the first timestep.
        burn_in: how many leading steps only rebuild the carry; no gradient flows through them.
        head_inputs: what the head takes besides features, leaves `[B, T - burn_in, ...]`.

    Returns:
        `(carry, output)` with output leaves `[B, T - burn_in, ...]`.
    """
    inputs, carry = _burn_in(network, params, timesteps, carry, burn_in)
    return network.apply(params, *inputs, carry, *head_inputs)


def unroll_with_losses(
    network: Network,
    params: PyTree,
    timesteps: Timestep,
    carry: Carry,
    burn_in: int = 0,
    head_inputs: tuple[Any, ...] = (),
) -> tuple[Carry, Any, Metrics]:
    """`unroll` for where a network is trained: with the losses its modules have of their own.

    A module sows a scalar, weighted already, into the collection `losses`, as `MoE` does. An algorithm adds them all,
    whatever they are, and reports them:

        _, output, losses = unroll_with_losses(...)
        return sum(losses.values(), loss), {**losses, **metrics}

    Returns:
        `(carry, output, losses)`: for each name under which something was sown a scalar `<name>_loss`, summed over
        modules and repeated layers, the mean over the steps of a recurrent cell. The burn-in does not count. Most
        networks have none.
    """
    inputs, carry = _burn_in(network, params, timesteps, carry, burn_in)
    (carry, output), variables = network.apply(params, *inputs, carry, *head_inputs, mutable=["losses"])
    losses: Metrics = {}
    for path, sown in flatten_dict(variables.get("losses", {})).items():
        name = f"{path[-1]}_loss"
        losses[name] = losses.get(name, jnp.zeros(())) + jnp.sum(jnp.stack(sown))
    return carry, output, losses


def _burn_in(
    network: Network, params: PyTree, timesteps: Timestep, carry: Carry, burn_in: int
) -> tuple[tuple[Any, ...], Carry]:
    """A network's inputs after the burn-in, and its carry there."""
    inputs = (timesteps.observation, timesteps.action, timesteps.reward, timesteps.done)
    if burn_in:
        warmup = jax.tree.map(lambda x: x[:, :burn_in], inputs)
        inputs = jax.tree.map(lambda x: x[:, burn_in:], inputs)
        carry, _ = jax.lax.stop_gradient(network.apply(params, *warmup, carry, method="encode"))
    return inputs, carry


def unroll_step(
    network: Network, params: PyTree, timestep: Timestep, carry: Carry, head_inputs: tuple[Any, ...] = ()
) -> tuple[Carry, Any]:
    """`unroll` over the single timestep `[B, ...]`; output leaves keep a time axis of one, `[B, 1, ...]`."""
    sequence, inputs = jax.tree.map(lambda x: x[:, None], (timestep, head_inputs))
    return unroll(network, params, sequence, carry, head_inputs=inputs)


def initialize(network: Network, key: Key, timestep: Timestep) -> tuple[PyTree, Carry]:
    """A network's parameters and its carry `[B, ...]` at the start of an episode.

    Args:
        network: the network.
        key: random key.
        timestep: one step, leaves `[B, ...]`; only its shapes are used.
    """
    params_key, carry_key = jax.random.split(key)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((x.shape[0], 1, *x.shape[1:]), x.dtype), timestep)

    # One seed after the other: on few cores the QR decompositions of orthogonal initialisers wait for each other for
    # ever if they are batched (jaxlib's batched LAPACK kernels block the threads they need).
    @jax.custom_batching.sequential_vmap
    def parameters(key: Key) -> PyTree:
        sequence = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        inputs = (sequence.observation, sequence.action, sequence.reward, sequence.done)
        first_step = jax.tree.map(lambda x: x[:, 0], sequence)
        return network.init(key, *inputs, network.initialize_carry(key, first_step))

    return parameters(params_key), network.initialize_carry(carry_key, timestep)
