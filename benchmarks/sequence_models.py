"""Time and compile time of every sequence model: `python benchmarks/sequence_models.py`.

Forward, and forward and backward, over B=4 sequences of T=128 steps (a minibatch), and one acting step of B=16, at
64 features. Runtimes are the least of many calls, taken in turns, so that a busy machine disturbs all models alike;
compile times are processor seconds and include tracing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.networks import MLP
from memorax.networks.sequence_models import (
    RNN,
    LRUCell,
    MambaCell,
    Memoroid,
    MinGRUCell,
    SelfAttention,
    SequenceModel,
    SequenceModelWrapper,
)

MODELS: dict[str, Callable[[int], SequenceModel]] = {
    "memoryless": lambda features: SequenceModelWrapper(MLP(features)),
    "simple": lambda features: RNN(nn.SimpleCell(features)),
    "GRU": lambda features: RNN(nn.GRUCell(features)),
    "LSTM": lambda features: RNN(nn.OptimizedLSTMCell(features)),
    "MGU": lambda features: RNN(nn.MGUCell(features)),
    "LRU": lambda features: Memoroid(LRUCell(features)),
    "MinGRU": lambda features: Memoroid(MinGRUCell(features)),
    "Mamba": lambda features: Memoroid(MambaCell(features)),
    "attention": lambda features: SelfAttention(features),
}


class Case:
    """One compiled program, its compile time and the least time a call of it took."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        begin = time.process_time()
        self.program = jax.jit(function).lower(*arguments).compile()
        self.compile_seconds = time.process_time() - begin
        self.arguments = arguments
        self.milliseconds = float("inf")

    def call(self, times: int) -> None:
        """Call it, and keep the least time."""
        for _ in range(times):
            begin = time.perf_counter()
            jax.block_until_ready(self.program(*self.arguments))
            self.milliseconds = min(self.milliseconds, 1e3 * (time.perf_counter() - begin))


def cases(model: SequenceModel, features: int, batch_size: int, num_steps: int, num_envs: int) -> list[Case]:
    """Forward, forward and backward, one step."""

    def data(batch_size: int, num_steps: int) -> tuple:
        keys = jax.random.split(jax.random.key(0), 3)
        inputs = jax.random.normal(keys[0], (batch_size, num_steps, features))
        done = jax.random.bernoulli(keys[1], 0.02, (batch_size, num_steps))
        return inputs, done, model.initialize_carry(keys[2], (batch_size, features))

    def loss(params: Any, inputs: jax.Array, done: jax.Array, carry: Any) -> jax.Array:
        return jnp.mean(model.apply(params, inputs, done, carry)[1] ** 2)

    sequence, step = data(batch_size, num_steps), data(num_envs, 1)
    params = model.init(jax.random.key(1), *step)
    return [
        Case(loss, params, *sequence),
        Case(jax.value_and_grad(loss, argnums=(0, 1)), params, *sequence),
        Case(model.apply, params, *step),
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--num-steps", type=int, default=128)
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure, all models together")
    args = parser.parse_args()

    table = {
        name: cases(MODELS[name](args.features), args.features, args.batch_size, args.num_steps, args.num_envs)
        for name in args.models
    }
    end = time.perf_counter() + args.seconds
    while time.perf_counter() < end:
        for row in table.values():
            for case in row:
                case.call(10)

    sequence, step = f"B={args.batch_size} T={args.num_steps}", f"B={args.num_envs} T=1"
    print(f"milliseconds (compile seconds) at {args.features} features on {jax.devices()[0].device_kind}\n")
    print(f"{'model':<12}{f'forward, {sequence}':>26}{f'and backward, {sequence}':>30}{f'step, {step}':>22}")
    for name, row in table.items():
        figures = [f"{case.milliseconds:.3f} ({case.compile_seconds:.2f})" for case in row]
        print(f"{name:<12}{figures[0]:>26}{figures[1]:>30}{figures[2]:>22}")


if __name__ == "__main__":
    main()
