"""Sequence models with one mistake each: the check names the truth that does not hold."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from memorax import testing

FEATURES = 4


class Average(nn.Module):
    """A running average of the inputs and a count of steps, then a layer. Each model below changes one method."""

    @nn.nowrap
    def initialize_carry(self, key: Any, input_shape: tuple[int, ...]) -> Any:
        return jnp.zeros(input_shape), jnp.zeros(input_shape[:1], jnp.int32)

    @nn.compact
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        inputs = self.project(nn.Dense(FEATURES)(self.see(inputs)), done)
        start = self.initialize_carry(None, inputs[:, 0].shape)

        def step(carry: Any, xs: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            carry = self.step(xs[1], start, carry, xs[0])
            return carry, carry[0]

        carry, averages = jax.lax.scan(step, self.before(carry), (inputs.swapaxes(0, 1), done.T))
        return self.after(carry), self.read(nn.Dense(FEATURES)(averages.swapaxes(0, 1)), inputs)

    def see(self, inputs: jax.Array) -> jax.Array:
        return inputs

    def project(self, projected: jax.Array, done: jax.Array) -> jax.Array:
        return projected

    def before(self, carry: Any) -> Any:
        return carry

    def step(self, done: jax.Array, start: Any, carry: Any, inputs: jax.Array) -> Any:
        average, count = self.reset(done, start, carry)
        return self.remember(average, inputs, count), count + 1

    def reset(self, done: jax.Array, start: Any, carry: Any) -> Any:
        return jnp.where(done[:, None], start[0], carry[0]), jnp.where(done, start[1], carry[1])

    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        return 0.8 * average + 0.2 * inputs

    def after(self, carry: Any) -> Any:
        return carry

    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return outputs


class NeverResets(Average):
    def reset(self, done: jax.Array, start: Any, carry: Any) -> Any:
        return carry


class ResetsByMultiplying(Average):
    def reset(self, done: jax.Array, start: Any, carry: Any) -> Any:
        return jnp.where(done, 0.0, 1.0)[:, None] * carry[0], jnp.where(done, 0, carry[1])


class ResetsToSomethingElse(Average):
    def reset(self, done: jax.Array, start: Any, carry: Any) -> Any:
        return jnp.where(done[:, None], 1.0, carry[0]), jnp.where(done, start[1], carry[1])


class ChangesTheTypeOfItsCarry(Average):
    def after(self, carry: Any) -> Any:
        return carry[0].astype(jnp.bfloat16), carry[1]


class ForgetsBetweenCalls(Average):
    def after(self, carry: Any) -> Any:
        return jnp.zeros_like(carry[0]), carry[1]


class LooksAhead(Average):
    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return outputs + jnp.concatenate([inputs[:, 1:], jnp.zeros_like(inputs[:, :1])], axis=1)


class MixesTheBatch(Average):
    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return outputs - outputs.mean(axis=0, keepdims=True)


class LearnsNothingOfThePast(Average):
    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        return 0.8 * jax.lax.stop_gradient(average) + 0.2 * inputs


class LearnsNothingOfItsInputs(Average):
    def see(self, inputs: jax.Array) -> jax.Array:
        return jax.lax.stop_gradient(inputs)


class LearnsNothingOfFirstSteps(Average):
    def project(self, projected: jax.Array, done: jax.Array) -> jax.Array:
        return jnp.where(done[..., None], jax.lax.stop_gradient(projected), projected)


class LearnsHalfOfWhatItsCarryIsWorth(Average):
    def before(self, carry: Any) -> Any:
        return 0.5 * carry[0] + jax.lax.stop_gradient(0.5 * carry[0]), carry[1]


class WeighsThePastThatAResetDrops(Average):
    """As where a gate is applied to the carry before it is dropped: zero times NaN is the gradient of the gate."""

    def step(self, done: jax.Array, start: Any, carry: Any, inputs: jax.Array) -> Any:
        past = jnp.where(done[:, None], start[0], carry[0] * nn.sigmoid(inputs))
        return self.remember(past, inputs, carry[1]), jnp.where(done, start[1], carry[1]) + 1


class Overflows(Average):
    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        return 1.2 * average + inputs


class StopsAtStepThirty(Average):
    """As where positions run out of a table and what is written there is dropped."""

    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        return jnp.where(count[:, None] < 30, super().remember(average, inputs, count), average)


class ForgetsFromStepThirty(Average):
    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        return super().remember(jnp.where(count[:, None] < 30, average, 0.0), inputs, count)


class IsConstant(Average):
    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return jnp.zeros_like(outputs)


class NeverResetsWhatItDoesNotShowAtFirst(NeverResets):
    """A layer of zeros hides what is wrong before it, as where a residual branch begins with nothing."""

    @nn.compact
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        carry, outputs = super().__call__(inputs, done, carry)
        return carry, inputs + nn.Dense(inputs.shape[-1], kernel_init=nn.initializers.zeros)(outputs)

    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return jnp.nan_to_num(outputs)


class ForgetsToReadItsCarry(Average):
    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return inputs


class KeepsItsCountAtStepThirty(Average):
    def reset(self, done: jax.Array, start: Any, carry: Any) -> Any:
        done = done & (carry[1] < 30)
        return super().reset(done, start, carry)


class ReadsTheNextRow(Average):
    """As by a gather that is off by one and clamped: only later rows reach earlier ones."""

    def project(self, projected: jax.Array, done: jax.Array) -> jax.Array:
        return projected[_next_row(projected)]


class AttendsToLaterRows(Average):
    def project(self, projected: jax.Array, done: jax.Array) -> jax.Array:
        mask = jnp.triu(jnp.ones((projected.shape[0], projected.shape[0])))
        return jnp.einsum("ij,jtf->itf", mask / mask.sum(axis=1, keepdims=True), projected)


class ResetsWithTheLastRow(Average):
    def reset(self, done: jax.Array, start: Any, carry: Any) -> Any:
        return super().reset(jnp.broadcast_to(done[-1:], done.shape), start, carry)


class ResetsWithTheNextRow(Average):
    def reset(self, done: jax.Array, start: Any, carry: Any) -> Any:
        return super().reset(done[_next_row(done)], start, carry)


class ResetsAllRowsTogether(Average):
    def reset(self, done: jax.Array, start: Any, carry: Any) -> Any:
        return super().reset(jnp.broadcast_to(done.all(), done.shape), start, carry)


class MixesTheBatchBehindANormalization(Average):
    """What is added to every feature of a row does not show there."""

    def see(self, inputs: jax.Array) -> jax.Array:
        normal = nn.LayerNorm()(inputs)
        return normal - normal.mean(axis=0, keepdims=True)


class DividesByTheSizeOfTheBatch(Average):
    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return outputs / outputs.shape[0]


class BeginsWithTheSizeOfTheBatch(Average):
    @nn.nowrap
    def initialize_carry(self, key: Any, input_shape: tuple[int, ...]) -> Any:
        return jnp.full(input_shape, 1.0 / input_shape[0]), jnp.zeros(input_shape[:1], jnp.int32)


class LearnsInPiecesOfSixtyFourSteps(Average):
    """Through time within each piece of an episode."""

    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        cut = (count % 64 == 0)[:, None]
        return super().remember(jnp.where(cut, jax.lax.stop_gradient(average), average), inputs, count)


class LearnsInPiecesOfACall(Average):
    """Through time within each 32 steps of a call: what is counted is the steps of the call."""

    def before(self, carry: Any) -> Any:
        return carry[0], carry[1], jnp.zeros((), jnp.int32)

    def step(self, done: jax.Array, start: Any, carry: Any, inputs: jax.Array) -> Any:
        average = jnp.where((carry[2] % 32 == 0) & (carry[2] > 0), jax.lax.stop_gradient(carry[0]), carry[0])
        return *super().step(done, start, (average, carry[1]), inputs), carry[2] + 1

    def after(self, carry: Any) -> Any:
        return carry[:2]


class LosesResetsWhereItsChunksBegin(Average):
    @nn.compact
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        step = jnp.arange(done.shape[1])[None]
        return super().__call__(inputs, done & ~((step > 0) & (step % 32 == 0)), carry)


class RemembersTwoInputsFromStepTwoHundred(Average):
    """As where a memory is cut to what the last rollout wrote."""

    @nn.nowrap
    def initialize_carry(self, key: Any, input_shape: tuple[int, ...]) -> Any:
        return *super().initialize_carry(key, input_shape), jnp.zeros(input_shape)

    def step(self, done: jax.Array, start: Any, carry: Any, inputs: jax.Array) -> Any:
        average, count = self.reset(done, start, carry)
        last = jnp.where(done[:, None], start[2], carry[2])
        late = (count >= 200)[:, None]
        return jnp.where(late, 0.16 * last, 0.8 * average) + 0.2 * inputs, count + 1, inputs


def _next_row(x: jax.Array) -> jax.Array:
    """The index of the row after each, and of the last itself."""
    return jnp.minimum(jnp.arange(x.shape[0]) + 1, x.shape[0] - 1)


WRONG = {
    NeverResets: "nothing before a done changes what follows, be it NaN",
    ResetsByMultiplying: "nothing before a done changes what follows, be it NaN",
    ResetsToSomethingElse: "a reset gives the initial carry",
    ChangesTheTypeOfItsCarry: "a torso keeps the shapes and types of its carry",
    ForgetsBetweenCalls: "single steps equal the whole sequence",
    LooksAhead: "single steps equal the whole sequence",
    MixesTheBatch: "no row of a batch changes another",
    LearnsNothingOfThePast: "the gradient by the parameters is that of the outputs, through time",
    LearnsNothingOfItsInputs: "the gradient by the inputs is that of the outputs, through time",
    LearnsNothingOfFirstSteps: "the gradient by the parameters is that of the outputs, also where episodes start",
    LearnsHalfOfWhatItsCarryIsWorth: "the gradient by the carry is that of the outputs",
    WeighsThePastThatAResetDrops: "gradients are finite where a reset drops a carry of NaN",
    Overflows: "after 920 steps of one episode outputs and carry are finite",
    StopsAtStepThirty: "after 920 steps of one episode an input is still seen",
    ForgetsFromStepThirty: "after 920 steps of one episode an input is still remembered",
    ForgetsToReadItsCarry: "outputs depend on the carry",
    IsConstant: "outputs depend on the inputs",
    NeverResetsWhatItDoesNotShowAtFirst: "nothing before a done changes what follows",
    KeepsItsCountAtStepThirty: "after 920 steps of one episode a reset gives the initial carry",
    ReadsTheNextRow: "no row of a batch changes another",
    AttendsToLaterRows: "no row of a batch changes another",
    ResetsWithTheLastRow: "no row of a batch changes another",
    ResetsWithTheNextRow: "no row of a batch changes another",
    ResetsAllRowsTogether: "no row of a batch changes another",
    MixesTheBatchBehindANormalization: "no row of a batch changes another",
    DividesByTheSizeOfTheBatch: r"a row alone gives what it gives in a batch \(outputs\)",
    BeginsWithTheSizeOfTheBatch: r"a row alone gives what it gives in a batch \(initial carry\)",
    LearnsInPiecesOfSixtyFourSteps: "the gradient by the inputs is that of the outputs, through time, along 69 steps",
    LearnsInPiecesOfACall: "the gradient by the inputs is that of the outputs, through time, along 69 steps",
    LosesResetsWhereItsChunksBegin: "along 920 steps of many episodes chunks equal the whole sequence",
    RemembersTwoInputsFromStepTwoHundred: r"one episode an input is still remembered 2 step\(s\) later",
}


def test_a_model_without_a_mistake() -> None:
    testing.check_sequence_model(Average(), FEATURES)


@pytest.mark.parametrize("model", WRONG, ids=lambda model: model.__name__)
def test_a_mistake_is_named(model: type[Average]) -> None:
    with pytest.raises(AssertionError, match=WRONG[model]):
        testing.check_sequence_model(model(), FEATURES)


class RoundsLongSequences(Average):
    """What it computes is rounded to steps that grow with the number of steps, as in sums of another order."""

    def project(self, projected: jax.Array, done: jax.Array) -> jax.Array:
        grid = 1e-7 * done.shape[1]
        return projected + jax.lax.stop_gradient(jnp.round(projected / grid) * grid - projected)


def test_what_a_model_makes_of_rounding_is_no_mistake() -> None:
    testing.check_sequence_model(RoundsLongSequences(), FEATURES)


class KeepsTheLargest(Average):
    """What is small by the end of a long episode rightly shows no more."""

    @nn.nowrap
    def initialize_carry(self, key: Any, input_shape: tuple[int, ...]) -> Any:
        return jnp.full(input_shape, -jnp.inf), jnp.zeros(input_shape[:1], jnp.int32)

    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        return jnp.maximum(average, inputs)


class KeepsTheLongest(Average):
    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        longer = jnp.linalg.norm(inputs, axis=-1) > jnp.linalg.norm(average, axis=-1)
        return jnp.where(longer[:, None], inputs, average)


class KeepsTheFirst(Average):
    """After a past, no input shows."""

    def remember(self, average: jax.Array, inputs: jax.Array, count: jax.Array) -> jax.Array:
        return jnp.where((count == 0)[:, None], inputs, average)


class ShowsASign(Average):
    """How long an input shows is a matter of chance."""

    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return jnp.sign(outputs)


class ShowsASignOfEach(Average):
    @nn.compact
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        carry, outputs = super().__call__(inputs, done, carry)
        return carry, nn.Dense(FEATURES)(jnp.sign(outputs))


@pytest.mark.parametrize(
    "model", [KeepsTheLargest, KeepsTheLongest, KeepsTheFirst, ShowsASign, ShowsASignOfEach], ids=lambda m: m.__name__
)
def test_what_is_unusual_is_no_mistake(model: type[Average]) -> None:
    testing.check_sequence_model(model(), FEATURES)


class RoundsStraightThrough(Average):
    def read(self, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
        return outputs + jax.lax.stop_gradient(jnp.round(outputs) - outputs)


def test_a_gradient_that_stands_in_for_another_is_exempt() -> None:
    with pytest.raises(AssertionError, match="the gradient by the parameters is that of the outputs"):
        testing.check_sequence_model(RoundsStraightThrough(), FEATURES)
    testing.check_sequence_model(RoundsStraightThrough(), FEATURES, exempt=("the gradient by",))


class TimeFirst(Average):
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        return super().__call__(inputs.swapaxes(0, 1), done, carry)


class SqueezesItsCarry(Average):
    """What has one row loses that axis."""

    def before(self, carry: Any) -> Any:
        return carry[0].squeeze(), carry[1]


class DropsOut(Average):
    @nn.compact
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        return super().__call__(nn.Dropout(0.5, deterministic=False)(inputs), done, carry)


class NormalizesBatches(Average):
    @nn.compact
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        return super().__call__(nn.BatchNorm(use_running_average=False)(inputs), done, carry)


class ReturnsOutputsAlone(Average):
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> Any:
        return super().__call__(inputs, done, carry)[1]


FAILS = {
    TimeFirst: r"^model fails on inputs \[3, 23, 4\] and done \[3, 23\], \[B, T, F\] and \[B, T\]: ",
    SqueezesItsCarry: r"^model fails on inputs \[1, 920, 4\] and done \[1, 920\], \[B, T, F\] and \[B, T\]: ",
    DropsOut: "^model has a layer that draws random numbers, such as Dropout",
    NormalizesBatches: "^model has a layer that changes its own variables, such as BatchNorm",
    ReturnsOutputsAlone: r"^model must return \(carry, outputs\), and not ",
}


@pytest.mark.parametrize("model", FAILS, ids=lambda model: model.__name__)
def test_what_does_not_run_is_told_in_a_line(model: type[Average]) -> None:
    with pytest.raises(ValueError, match=FAILS[model]):
        testing.check_sequence_model(model(), FEATURES)
