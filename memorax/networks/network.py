"""A network: feature extractor, torso, head; and the one function that runs it over timesteps."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

from memorax.types import Array, Carry, Key, PyTree, Timestep


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
    inputs = (timesteps.observation, timesteps.action, timesteps.reward, timesteps.done)
    if burn_in:
        warmup = jax.tree.map(lambda x: x[:, :burn_in], inputs)
        inputs = jax.tree.map(lambda x: x[:, burn_in:], inputs)
        carry, _ = jax.lax.stop_gradient(network.apply(params, *warmup, carry, method="encode"))
    return network.apply(params, *inputs, carry, *head_inputs)


def unroll_step(
    network: Network, params: PyTree, timestep: Timestep, carry: Carry, head_inputs: tuple[Any, ...] = ()
) -> tuple[Carry, Any]:
    """`unroll` over the single timestep `[B, ...]`; output leaves keep a time axis of one, `[B, 1, ...]`."""
    sequence, inputs = jax.tree.map(lambda x: x[:, None], (timestep, head_inputs))
    return unroll(network, params, sequence, carry, head_inputs=inputs)
