"""Real-time recurrent learning against backpropagation through the whole episode."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax import testing
from memorax.networks import TORSOS
from memorax.networks.sequence_models import RNN, RTRL, IndRNNCell, LRUCell, Memoroid, MinGRUCell, RTUCell, S5Cell
from memorax.testing import check_close
from tests.networks.sequence_models.laws import initialize, sequence

FEATURES = 4

CELLS = {
    "lru": LRUCell(FEATURES, state_dim=3),
    "rtu": RTUCell(FEATURES, activation=jnp.tanh),
    "linear_rtu": RTUCell(FEATURES, activation=jnp.tanh, linear=True),
    "indrnn": IndRNNCell(FEATURES),
    "s5": S5Cell(FEATURES, state_dim=6),
}


def step_loss(outputs: jax.Array, target: jax.Array) -> jax.Array:
    """The squared error of one step `[B, D]`."""
    return jnp.sum((outputs - target) ** 2)


def backpropagated(model: Any, params: Any, inputs: jax.Array, done: jax.Array, targets: jax.Array, carry: Any) -> Any:
    """The gradient of each step's loss through everything before it, leaves `[T, ...]`."""

    def loss(params: Any, weights: jax.Array) -> jax.Array:
        _, outputs = model.apply(params, inputs, done, carry)
        return jnp.sum(weights * jax.vmap(step_loss, in_axes=1)(outputs, targets))

    return jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(params, jnp.eye(inputs.shape[1]))


@pytest.mark.parametrize("name", CELLS)
def test_the_gradient_of_every_step_is_that_of_the_whole_episode(name: str) -> None:
    model = Memoroid(CELLS[name])
    online = RTRL(model)
    inputs, done, carry = sequence(online, FEATURES, num_steps=20)
    targets = jax.random.normal(jax.random.key(3), (*inputs.shape[:2], FEATURES))
    params = initialize(online, inputs, done, carry)

    def learn(carry: Any, step: Any) -> tuple[Any, Any]:
        inputs, done, targets = (x[:, None] for x in step)

        def loss(params: Any) -> tuple[jax.Array, Any]:
            new_carry, outputs = online.apply(params, inputs, done, carry)
            return step_loss(outputs[:, 0], targets[:, 0]), new_carry

        gradient, carry = jax.grad(loss, has_aux=True)(params)
        return carry, gradient

    time_first = jax.tree.map(lambda x: x.swapaxes(0, 1), (inputs, done, targets))
    _, gradients = jax.jit(lambda carry: jax.lax.scan(learn, carry, time_first))(carry)
    inner = {"params": params["params"]["model"]}
    expected = backpropagated(model, inner, inputs, done, targets, carry.state)
    assert bool(done[:, 1:].any()), "episodes end within the sequence"
    check_close(gradients["params"]["model"], expected["params"])


def test_a_call_of_several_steps_knows_what_was_before() -> None:
    model = Memoroid(CELLS["lru"])
    online = RTRL(model)
    inputs, done, carry = sequence(online, FEATURES, num_steps=20)
    done = done.at[:, 10:].set(False).at[0, 15].set(True)
    targets = jnp.ones((*inputs.shape[:2], FEATURES))
    params = initialize(online, inputs, done, carry)
    before, _ = jax.jit(online.apply)(params, inputs[:, :12], done[:, :12], carry)

    @jax.jit
    @jax.grad
    def gradient(params: Any) -> jax.Array:
        _, outputs = online.apply(params, inputs[:, 12:], done[:, 12:], before)
        return step_loss(outputs, targets[:, 12:])

    inner = {"params": params["params"]["model"]}
    expected = backpropagated(model, inner, inputs, done, targets, carry.state)
    check_close(gradient(params)["params"]["model"], jax.tree.map(lambda x: x[12:].sum(0), expected["params"]))


@pytest.mark.parametrize("name", CELLS)
def test_acts_as_it_learns_and_never_leaks(name: str) -> None:
    testing.check_sequence_model(RTRL(Memoroid(CELLS[name])), FEATURES)


def test_the_sensitivities_are_as_many_as_the_parameters() -> None:
    carry = RTRL(Memoroid(IndRNNCell(5))).initialize_carry(jax.random.key(0), (2, 3))
    shapes = {name: leaf.shape for name, leaf in carry.sensitivities.items()}
    assert shapes == {"kernel": (2, 3, 5), "bias": (2, 5), "recurrent": (2, 5)}


@pytest.mark.parametrize("model", [Memoroid(MinGRUCell(4)), RNN(nn.GRUCell(4))])
def test_a_recurrence_that_is_not_elementwise(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"RTRL model \(\w+Cell\) must have an elementwise recurrence: Memoroid with"):
        RTRL(model)


@pytest.mark.parametrize("name", ["rtu", "lru", "indrnn", "s5"])
def test_torsos_learn_in_real_time_on_request(name: str) -> None:
    """With `rtrl` their outputs are the same, and the carry holds sensitivities."""
    plain, online = TORSOS[name](FEATURES), TORSOS[name](FEATURES, rtrl=True)
    inputs, done = jax.random.normal(jax.random.key(0), (2, 5, FEATURES)), jnp.zeros((2, 5), bool)
    carries = [torso.initialize_carry(jax.random.key(1), (2, FEATURES)) for torso in (plain, online)]
    # Compiled whole: one operation after another, as Flax runs them, is a program for each of them.
    (_, outputs), variables = jax.jit(plain.init_with_output)(jax.random.key(2), inputs, done, carries[0])
    (carry, online_outputs), _ = jax.jit(online.init_with_output)(jax.random.key(2), inputs, done, carries[1])
    assert outputs.shape == online_outputs.shape
    assert sum(x.size for x in jax.tree.leaves(carry)) > 4 * sum(x.size for x in jax.tree.leaves(carries[0]))
    renamed = _renamed(variables, online, inputs, done, carries[1])
    moved = jax.jit(online.apply)(renamed, inputs, done, carries[1])[1]
    np.testing.assert_allclose(moved, outputs, rtol=1e-4, atol=1e-5)


def _renamed(variables, torso, inputs, done, carry):
    """The same numbers under the names that `torso` has for them."""
    structure = jax.tree.structure(jax.eval_shape(torso.init, jax.random.key(2), inputs, done, carry))
    return jax.tree.unflatten(structure, jax.tree.leaves(variables))
