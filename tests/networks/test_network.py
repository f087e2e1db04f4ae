"""How a network is run, and the losses its modules have of their own."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import MLP, RNN, FeatureExtractor, MoE, Network, Residual, Stack, heads, unroll
from memorax.networks.network import initialize, unroll_with_losses
from memorax.testing import check_close
from memorax.types import Array, Key, PyTree, Timestep

FEATURES = 4


def make(torso: nn.Module, shapes_alone: bool = False) -> tuple[Network, PyTree, Timestep, PyTree]:
    """A network, its parameters (or their shapes), five timesteps of two environments and the carry before them."""
    network = Network(FeatureExtractor(MLP(FEATURES)), torso, heads.VNetwork())
    keys = jax.random.split(jax.random.key(0), 3)
    observation, reward = jax.random.normal(keys[0], (2, 5, 3)), jax.random.normal(keys[1], (2, 5))
    done = jnp.zeros((2, 5), bool).at[0, 2].set(True)
    timesteps = Timestep(observation, jnp.zeros((2, 5), jnp.int32), reward, done)
    carry = network.initialize_carry(keys[2], jax.tree.map(lambda x: x[:, 0], timesteps))
    init = functools.partial(jax.eval_shape, network.init) if shapes_alone else jax.jit(network.init)
    params = init(keys[2], observation, timesteps.action, reward, done, carry)
    return network, params, timesteps, carry


@pytest.mark.parametrize("burn_in", [0, 2])
def test_a_network_without_losses_of_its_own_computes_the_same(burn_in: int) -> None:
    network, *arguments = make(Stack((Residual(nn.Dense(FEATURES)), RNN(nn.GRUCell(FEATURES))), depth=2), True)
    assert jax.eval_shape(lambda *xs: unroll_with_losses(network, *xs, burn_in), *arguments)[2] == {}
    programs = [
        jax.make_jaxpr(lambda *xs, run=run: run(network, *xs, burn_in)[:2])(*arguments)
        for run in (unroll, unroll_with_losses)
    ]
    assert str(programs[0]) == str(programs[1])


def test_losses_are_added_over_modules_and_repeated_layers() -> None:
    layers = (Residual(MoE(FEATURES, load_balancing_coef=0.5)), RNN(nn.GRUCell(FEATURES)), Residual(MoE(FEATURES)))
    network, *arguments = make(Stack(layers, depth=2))

    @jax.jit
    def run(params: PyTree, timesteps: Timestep, carry: PyTree) -> tuple:
        inputs = (timesteps.observation, timesteps.action, timesteps.reward, timesteps.done)
        _, sown = network.apply(params, *inputs, carry, mutable=["losses"])
        return sown["losses"], unroll_with_losses(network, params, timesteps, carry)[2]

    sown, losses = run(*arguments)
    assert [leaf.shape for leaf in jax.tree.leaves(sown)] == [(2,), (2,)]
    assert losses.keys() == {"load_balancing_loss"}
    expected = sum(leaf.sum() for leaf in jax.tree.leaves(sown))
    check_close(losses["load_balancing_loss"], expected)


def test_the_burn_in_does_not_count() -> None:
    network, params, timesteps, carry = make(Stack((RNN(nn.GRUCell(FEATURES)), MoE(FEATURES))))
    head, tail = (jax.tree.map(lambda x, s=s: x[:, s], timesteps) for s in (slice(0, 2), slice(2, None)))

    @jax.jit
    def run(params: PyTree) -> tuple:
        middle, _, first = unroll_with_losses(network, params, head, carry)
        *_, expected = unroll_with_losses(network, params, tail, middle)
        return first, expected, unroll_with_losses(network, params, timesteps, carry, burn_in=2)[2]

    first, expected, losses = run(params)
    check_close(losses, expected)
    assert not np.isclose(first["load_balancing_loss"], expected["load_balancing_loss"], rtol=1e-3)


class ExpertCell(nn.RNNCellBase):
    """A recurrent cell that is a mixture of experts."""

    @nn.compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        state = jnp.tanh(MoE(FEATURES)(jnp.concatenate([carry, inputs], axis=-1)[:, None])[:, 0])
        return state, state

    def initialize_carry(self, rng: Key, input_shape: tuple[int, ...]) -> Array:
        return jnp.zeros((input_shape[0], FEATURES))

    @property
    def num_feature_axes(self) -> int:
        return 1


@pytest.mark.parametrize("depth", [1, 2])
def test_losses_of_a_recurrent_cell_are_the_mean_over_its_steps(depth: int) -> None:
    network, params, timesteps, carry = make(Stack((Residual(RNN(ExpertCell())),), depth))

    @jax.jit
    def run(params: PyTree) -> tuple:
        steps, state = [], carry
        for t in range(5):
            state, _, losses = unroll_with_losses(
                network, params, jax.tree.map(lambda x, t=t: x[:, t : t + 1], timesteps), state
            )
            steps.append(losses["load_balancing_loss"])
        return jnp.stack(steps), unroll_with_losses(network, params, timesteps, carry)[2]

    steps, losses = run(params)
    assert np.ptp(steps) > 1e-4
    check_close(losses["load_balancing_loss"], steps.mean())


class Sower(nn.Module):
    """A layer with a loss of its own, other records of a call, and a constant."""

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        outputs = self.perturb("outputs", nn.Dense(FEATURES)(inputs))
        self.sow("losses", "mine", jnp.mean(outputs**2))
        self.sow("intermediates", "outputs", outputs)
        return outputs + self.variable("constants", "offset", jnp.ones, (FEATURES,)).value[None, None]


def test_what_is_sown_at_initialisation_is_not_kept() -> None:
    network = Network(FeatureExtractor(Sower()), Stack((nn.Dense(FEATURES),)), heads.VNetwork())
    observation = jax.random.normal(jax.random.key(1), (2, 5, 3))
    zeros = jnp.zeros((2, 5))
    timesteps = Timestep(observation, zeros.astype(jnp.int32), zeros, zeros.astype(bool))
    variables, carry = initialize(network, jax.random.key(0), jax.tree.map(lambda x: x[:, 0], timesteps))
    assert variables.keys() == {"params", "constants"}
    *_, losses = unroll_with_losses(network, variables, timesteps, carry)
    outputs = nn.Dense(FEATURES).apply(
        {"params": variables["params"]["feature_extractor"]["observation_extractor"]["Dense_0"]}, observation
    )
    check_close(losses["mine_loss"], jnp.mean(outputs**2))
