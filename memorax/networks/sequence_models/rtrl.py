"""Real-time recurrent learning: exact gradients from sensitivities that are carried forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from memorax.networks.sequence_models.memoroid import Memoroid
from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Carry, Key, PyTree, where

Parameters = dict[str, Array]


@struct.dataclass
class RTRLCarry:
    """What a model under real-time recurrent learning remembers.

    Attributes:
        state: the model's own carry, leaves `[B, H]`.
        sensitivities: in place of each leaf of the state, its derivative by each parameter of the recurrence: by the
            parameter's name, `[B, ...]` with the parameter's shape, in the dtype of the leaf.
    """

    state: Carry
    sensitivities: PyTree


class RTRL(SequenceModel):
    """Real-time recurrent learning (Williams & Zipser, 1989) of an elementwise recurrence.

    Outputs are those of the model. The gradient of a loss on them, by every parameter of the model, is that of
    backpropagation through the whole episode up to then, however few steps the call holds: the carry brings along
    `dh / dtheta` from before. Where each unit of the state sees its own past alone, that takes as many numbers as there
    are parameters for each sequence, not `H` times as many (Zucchet et al., 2023, "Online Learning of Long-Range
    Dependencies", Section 3).

        model = RTRL(Memoroid(LRUCell(64)))
        loss = lambda params: error(model.apply(params, inputs, done, carry)[1])     # inputs [B, 1, F]: one step
        gradient = jax.grad(loss)(params)

    The carry passes no gradient back, so layers below are trained by the steps of the call alone. Where parameters
    change on the way, the sensitivities are those of the parameters there were, as always in real-time recurrent
    learning.

    Attributes:
        model: a `Memoroid` whose cell names the parameters of its elementwise recurrence, such as
            `Memoroid(LRUCell(64))`.
    """

    model: Memoroid

    def __post_init__(self) -> None:
        """Check that the recurrence is elementwise."""
        cell = getattr(self.model, "cell", self.model)
        if not isinstance(self.model, Memoroid) or not cell.elementwise:
            raise ValueError(
                f"RTRL model ({type(cell).__name__}) must have an elementwise recurrence: "
                "Memoroid with LRUCell, RTUCell, IndRNNCell or S5Cell"
            )
        super().__post_init__()

    def __call__(self, inputs: Array, done: Array, carry: RTRLCarry) -> tuple[RTRLCarry, Array]:
        """Run the model over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        if self.is_initializing():
            state, outputs = self.model(inputs, done, carry.state)
            return RTRLCarry(state, carry.sensitivities), outputs
        model, params = self.model.clone(parent=None), self.model.variables["params"]
        driving = {name: params["cell"][name] for name in self.model.cell.elementwise}

        def run(driving: Parameters, inputs: Array, done: Array, carry: RTRLCarry) -> tuple[Carry, Any]:
            start = jax.tree.map(
                lambda state, sensitivity: _attach(driving, state, sensitivity), carry.state, carry.sensitivities
            )
            variables = {"params": {**params, "cell": {**params["cell"], **driving}}}
            return model.apply(variables, inputs, done, start)

        def final_state(driving: Parameters, *sequence: PyTree) -> Carry:
            state, _ = run(driving, *jax.tree.map(lambda x: x[None], sequence))
            return jax.tree.map(lambda x: x[0], state)

        carry = jax.lax.stop_gradient(RTRLCarry(carry.state, _reset(done[:, 0], carry.sensitivities)))
        state, outputs = run(driving, inputs, done, carry)
        sequences = jax.lax.stop_gradient(_last_episode(inputs, done, carry))
        sensitivities = jax.vmap(lambda *sequence: _differentiate(final_state, driving, *sequence))(*sequences)
        return RTRLCarry(state, jax.lax.stop_gradient(sensitivities)), outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> RTRLCarry:
        """The model's initial carry, which depends on no parameter: sensitivities of zero."""
        batch_size, input_dim = input_shape
        state = self.model.initialize_carry(key, input_shape)
        inputs, done = jnp.zeros((batch_size, 1, input_dim)), jnp.zeros((batch_size, 1), bool)
        params = jax.eval_shape(self.model.init, jax.random.key(0), inputs, done, state)["params"]["cell"]

        def zeros(leaf: Array) -> Parameters:
            names = self.model.cell.elementwise
            return {name: jnp.zeros((batch_size, *params[name].shape), leaf.dtype) for name in names}

        return RTRLCarry(state, jax.tree.map(zeros, state))


@jax.custom_jvp
def _attach(driving: Parameters, state: Array, sensitivity: Parameters) -> Array:
    """Return `state` `[B, H]`, and give it `sensitivity` as its derivative by the parameters `driving`.

    Each unit `h_i` depends on its own slice `theta_i` of every parameter, so the full Jacobian is as large as the
    parameters: `dh_i = sum over the slice of sensitivity_i dtheta_i`, plus whatever `state` itself depends on. The
    reverse pass, `dtheta_i = sum_B sensitivity_i dh_i`, is JAX's transposition of this.
    """
    return state


@_attach.defjvp
def _attach_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    _, state, sensitivity = primals
    d_driving, d_state, _ = tangents
    # A unit depends on its own slice of each parameter: the product is summed over all axes but the last.
    for name, d_parameter in d_driving.items():
        product = sensitivity[name] * d_parameter[None]
        d_state = d_state + product.sum(axis=tuple(range(1, product.ndim - 1)))
    return state, d_state


def _differentiate(final_state: Callable[..., Carry], driving: Parameters, *sequence: PyTree) -> PyTree:
    """`dh / dtheta` of each leaf of the final state `[H]` of one sequence.

    The cotangent of all ones gives every unit's derivative at once, because no parameter moves two of them.
    """
    state, pullback = jax.vjp(lambda driving: final_state(driving, *sequence), driving)
    leaves, structure = jax.tree.flatten(state)

    def pull(index: int, seed: complex) -> Parameters:
        cotangents = [jnp.full_like(leaf, seed if i == index else 0) for i, leaf in enumerate(leaves)]
        return pullback(jax.tree.unflatten(structure, cotangents))[0]

    def derivative(index: int) -> Parameters:
        if not jnp.iscomplexobj(leaves[index]):
            return pull(index, 1)
        return jax.tree.map(jax.lax.complex, pull(index, 1), pull(index, -1j))  # of the real and the imaginary part

    return jax.tree.unflatten(structure, [derivative(index) for index in range(len(leaves))])


def _last_episode(inputs: Array, done: Array, carry: RTRLCarry) -> tuple[Array, Array, RTRLCarry]:
    """Zero the inputs before the last reset and the carry before it, so that a NaN there meets no zero cotangent."""
    starts_after = jnp.cumsum(done[:, ::-1], axis=1)[:, ::-1] - done
    inputs = where(starts_after == 0, inputs, jnp.zeros_like(inputs))
    return inputs, done, _reset(done.any(axis=1), carry)


def _reset(done: Array, tree: PyTree) -> PyTree:
    return where(done, jax.tree.map(jnp.zeros_like, tree), tree)
