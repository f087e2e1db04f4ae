"""A network (feature extractor, torso, head), and the functions that run it over timesteps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.core
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
        hidden: entries of a dictionary observation that the feature extractor is not given.
    """

    feature_extractor: nn.Module
    torso: nn.Module
    head: nn.Module
    hidden: tuple[str, ...] = ()

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
            *head_inputs: inputs of the head besides features (the action, for a continuous Q-network).

        Returns:
            `(carry, output)`: the torso's carry after the last step and the head's output, leaves `[B, T, ...]`.
        """
        carry, features = self.encode(observation, action, reward, done, initial_carry)
        return carry, self.apply_head(features, observation, *head_inputs)

    def encode(
        self, observation: PyTree, action: PyTree, reward: Array, done: Array, initial_carry: Carry
    ) -> tuple[Carry, Array]:
        """`__call__` without the head: `(carry, torso outputs [B, T, D])`."""
        features = self.feature_extractor(self._visible(observation), action, reward, done)
        return self.torso(features, done, initial_carry)

    def _visible(self, observation: PyTree) -> PyTree:
        if not isinstance(observation, Mapping):
            return observation
        return {name: part for name, part in observation.items() if name not in self.hidden}

    def apply_head(self, features: Array, observation: PyTree, *head_inputs: Any) -> Any:
        """The head's output for what `encode` returned, illegal actions ruled out.

        Args:
            features: the torso's outputs `[B, T, D]`.
            observation: pytree of `[B, T, ...]`, read for its `action_mask` alone.
            *head_inputs: inputs of the head besides features.
        """
        output = self.head(features, *head_inputs)
        mask = action_mask(observation)
        return output if mask is None else self.head.mask(output, mask)

    def initialize_carry(self, key: Key, timestep: Timestep) -> Carry:
        """The torso's carry at the start of an episode, a pytree of `[B, ...]`.

        Args:
            key: random key.
            timestep: one step, leaves `[B, ...]`; only its shapes are used.
        """

        def features(timestep: Timestep) -> Array:
            sequence = jax.tree.map(lambda x: x[:, None], timestep)
            inputs = (self._visible(sequence.observation), sequence.action, sequence.reward, sequence.done)
            return self.feature_extractor.init_with_output(jax.random.key(0), *inputs)[0]

        shape = jax.eval_shape(features, timestep).shape
        return self.torso.initialize_carry(key, (shape[0], shape[-1]))


ACTION_MASK = "action_mask"
"""The part of a dictionary observation that says which actions are legal."""


def action_mask(observation: PyTree) -> Array | None:
    """Which actions an observation allows: bool `[..., A]`, or None where it does not say.

    A row that allows nothing is taken to allow everything by the heads.
    """
    if isinstance(observation, Mapping) and ACTION_MASK in observation:
        return jnp.asarray(observation[ACTION_MASK], bool)
    return None


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
        params: variables of the network.
        timesteps: leaves `[B, T, ...]`.
        carry: the torso's carry before the first timestep.
        burn_in: number of leading steps that only rebuild the carry; no gradient flows through them.
        head_inputs: inputs of the head besides features, leaves `[B, T - burn_in, ...]`.

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
    prefix: str = "",
) -> tuple[Carry, Any, Metrics]:
    """`unroll` for where a network is trained: with the losses its modules have of their own.

    A module sows a scalar, weighted already, into the collection `losses`, as `MoE` does. An algorithm adds them all,
    whatever they are, and reports them:

        _, output, losses = unroll_with_losses(...)
        return sum(losses.values(), loss), {**losses, **metrics}

    The arguments are those of `unroll`, and `prefix`, what the names of the losses start with.

    Returns:
        `(carry, output, losses)`: for each name under which something was sown a scalar `<prefix><name>_loss`, summed
        over modules and repeated layers, the mean over the steps of a recurrent cell. The burn-in does not count. Most
        networks have none.
    """
    inputs, carry = _burn_in(network, params, timesteps, carry, burn_in)
    (carry, output), variables = network.apply(params, *inputs, carry, *head_inputs, mutable=["losses"])
    return carry, output, _sown_losses(variables, prefix)


def unroll_truncated(
    network: Network, params: PyTree, timesteps: Timestep, carry: Carry, burn_in: int, prefix: str = ""
) -> tuple[Any, Metrics]:
    """Run a network over sequences, with no gradient from the steps after a burn-in to those within it.

    Unlike `unroll`, it returns the outputs of the burn-in too, so that these steps are learned from as well. That is
    right where the carry is the very one that was acted with.

    Returns:
        `(output, losses)` with output leaves `[B, T, ...]`, as `unroll_with_losses` has them.
    """
    if not burn_in:
        return unroll_with_losses(network, params, timesteps, carry, prefix=prefix)[1:]
    head, tail = (jax.tree.map(lambda x: x[:, :burn_in], timesteps), jax.tree.map(lambda x: x[:, burn_in:], timesteps))
    carry, early = unroll(network, params, head, carry)
    _, late, losses = unroll_with_losses(network, params, tail, jax.lax.stop_gradient(carry), prefix=prefix)
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), early, late), losses


def encode_with_losses(
    network: Network, params: PyTree, timesteps: Timestep, carry: Carry, burn_in: int = 0, prefix: str = ""
) -> tuple[Carry, Array, Metrics]:
    """`unroll_with_losses` without the head, for a head that is applied several times to the same features.

    Returns:
        `(carry, features, losses)` with features `[B, T - burn_in, D]`, which `apply_head` takes.
    """
    inputs, carry = _burn_in(network, params, timesteps, carry, burn_in)
    (carry, features), variables = network.apply(params, *inputs, carry, method="encode", mutable=["losses"])
    return carry, features, _sown_losses(variables, prefix)


def apply_head(network: Network, params: PyTree, features: Array, observation: PyTree, *head_inputs: Any) -> Any:
    """A network's output for features that `encode_with_losses` returned.

    Args:
        network: the network.
        params: variables of the network.
        features: `[B, T, D]`.
        observation: observations of the same steps, leaves `[B, T, ...]`, read for their `action_mask` alone.
        *head_inputs: inputs of the head besides features, leaves `[B, T, ...]`.
    """
    return network.apply(params, features, observation, *head_inputs, method="apply_head")


def _sown_losses(variables: PyTree, prefix: str) -> Metrics:
    losses: Metrics = {}
    for path, sown in flatten_dict(variables.get("losses", {})).items():
        name = f"{prefix}{path[-1]}_loss"
        losses[name] = losses.get(name, jnp.zeros(())) + jnp.sum(jnp.stack(sown))
    return losses


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


def takes_action(head: nn.Module) -> bool:
    """Whether a head is given the action whose value it tells, besides features."""
    return getattr(head, "takes_action", False)


KEPT = flax.core.DenyList(("losses", "intermediates", "perturbations"))
"""The collections of a network that last: all but those that hold what a single call computed."""


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
        head_inputs = (sequence.action,) if takes_action(network.head) else ()
        carry = network.initialize_carry(key, first_step)
        # Losses sown here would stay among the variables, and what is sown later would be added to them.
        return network.init(key, *inputs, carry, *head_inputs, mutable=KEPT)

    return parameters(params_key), network.initialize_carry(carry_key, timestep)
