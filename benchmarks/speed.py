"""PPO training speed for every torso: `python -m benchmarks.speed [--torsos gru lru] [--profile]`.

CartPole, 16 environments x 128 steps, 4 epochs x 4 minibatches, 64 features, separate actor and critic. Prints
the seconds of the first call of `train` (with compilation), the training steps per second after it, and how the time of
an iteration divides into acting, values along the rollout, and updates. With `--algorithms dqn r2d2` (or `all`) it
measures those instead, as `python -m benchmarks.algorithms` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import optax
import tyro
from rich.console import Console
from rich.table import Table

import memorax
from benchmarks import algorithms
from memorax.algorithms import PPO, PPOConfig
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network, heads
from memorax.training.summary import summarize


@dataclass(frozen=True)
class Options:
    """What to measure."""

    torsos: list[str] = field(default_factory=lambda: list(TORSOS))
    environment: str = "gymnax::CartPole-v1"
    features: int = 64
    iterations: int = 20
    repeats: int = 5
    algorithms: list[str] = field(default_factory=list)


def make_agent(torso: str, options: Options) -> PPO:
    """The agent that is measured."""
    env, env_params = memorax.make(options.environment)

    def network(head: Any) -> Network:
        extractor = FeatureExtractor(observation_extractor=MLP(options.features))
        return Network(extractor, TORSOS[torso](options.features), head)

    cfg = PPOConfig(num_envs=16, num_steps=128, num_minibatches=4, update_epochs=4)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-4))
    actor = network(heads.policy_head(env.action_space(env_params)))
    return PPO(cfg, env, env_params, actor, network(heads.VNetwork()), optimizer, optimizer)


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """The shortest of several runs."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(run())
        best = min(best, time.perf_counter() - begin)
    return best


def measure(torso: str, options: Options) -> dict[str, float]:
    """First call, steps per second, and milliseconds of an iteration spent acting and learning."""
    agent = make_agent(torso, options)
    key, state = jax.block_until_ready(agent.init(jax.random.key(0)))
    num_steps = options.iterations * agent.steps_per_iteration
    begin = time.perf_counter()
    jax.block_until_ready(agent.train(key, state, num_steps, summarize))
    first_call = time.perf_counter() - begin
    per_iteration = seconds(lambda: agent.train(key, state, num_steps, summarize), options.repeats)
    per_iteration /= options.iterations
    act = jax.jit(agent.act)
    jax.block_until_ready(act(key, state))
    acting = seconds(lambda: act(key, state), 4 * options.repeats)
    return {
        "first call, s": first_call,
        "steps/s": agent.steps_per_iteration / per_iteration,
        "iteration, ms": 1e3 * per_iteration,
        "acting, ms": 1e3 * acting,
        "learning, ms": 1e3 * (per_iteration - acting),
    }


def main() -> None:
    """Print the table."""
    options = tyro.cli(Options, description=__doc__)
    if options.algorithms:
        every = algorithms.Options().algorithms
        algorithms.print_table(algorithms.Options(every if options.algorithms == ["all"] else options.algorithms))
        return
    results = {torso: measure(torso, options) for torso in options.torsos}
    table = Table(title=f"PPO training, {options.environment}, jax {jax.__version__} on {jax.default_backend()}")
    table.add_column("torso")
    for column in next(iter(results.values())):
        table.add_column(column, justify="right")
    for torso, figures in results.items():
        table.add_row(torso, *(f"{x:,.0f}" if name == "steps/s" else f"{x:.1f}" for name, x in figures.items()))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
