"""What depth costs to compile: `python -m benchmarks.depth`.

Forward and backward over B=4 sequences of T=128 steps, as in learning, and a rollout of B=16, as in acting, at 64
features. Processor seconds, tracing included; the layers of a stack are compiled once over a sequence, and one by one
where a single step is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from memorax.networks.architectures import gpt2, griffin, gtrxl, mamba, s5, transformer_xl, xlstm
from memorax.networks.sequence_models import SequenceModel

ARCHITECTURES: tuple[Callable[..., SequenceModel], ...] = (gtrxl, transformer_xl, gpt2, xlstm, mamba, griffin, s5)
DEPTHS, FEATURES = (2, 8), 64


def compile_seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Processor seconds to trace and compile."""
    begin = time.process_time()
    jax.jit(function).lower(*arguments).compile()
    return time.process_time() - begin


def measure(model: SequenceModel) -> tuple[float, float]:
    """Seconds to compile learning, and acting."""

    def data(batch_size: int, num_steps: int) -> tuple:
        shape = (batch_size, num_steps)
        carry = model.initialize_carry(jax.random.key(0), (batch_size, FEATURES))
        return jnp.zeros((*shape, FEATURES)), jnp.zeros(shape, bool), carry

    def loss(params: Any, inputs: jax.Array, done: jax.Array, carry: Any) -> jax.Array:
        return jnp.mean(model.apply(params, inputs, done, carry)[1] ** 2)

    def act(params: Any, inputs: jax.Array, done: jax.Array, carry: Any) -> Any:
        def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
            return model.apply(params, inputs, done, carry)

        return jax.lax.scan(step, carry, None, length=128)

    params = jax.jit(model.init)(jax.random.key(0), *data(1, 1))
    return compile_seconds(jax.value_and_grad(loss), params, *data(4, 128)), compile_seconds(act, params, *data(16, 1))


def main() -> None:
    """Print the table, a line as soon as it is known."""
    print(f"| architecture | learning, {DEPTHS[0]} and {DEPTHS[1]} layers | acting | both, ratio |")
    print("| --- | ---: | ---: | ---: |")
    for make in ARCHITECTURES:
        (learn, act), (deep_learn, deep_act) = (measure(make(FEATURES, depth)) for depth in DEPTHS)
        ratio = (deep_learn + deep_act) / (learn + act)
        times = f"{learn:.1f} s, {deep_learn:.1f} s | {act:.1f} s, {deep_act:.1f} s"
        print(f"| {make.__name__} | {times} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
