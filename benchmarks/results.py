"""Learning curves of every algorithm: `python -m benchmarks.results NAME...`, or `--plot` to draw them all.

An experiment trains three seeds in one program and evaluates the greedy policy at intervals. Its curve goes to
`docs/results/NAME.csv`, and the seconds it took to `docs/results/seconds.csv`.
"""

from __future__ import annotations

import csv
import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import flax.linen as nn
import jax
import numpy as np
import tyro

from memorax.algorithms import ACLambdaConfig, DQNConfig, PPOConfig, PQNConfig, R2D2Config, SACConfig
from memorax.evaluation import mean_return
from memorax.networks import heads
from memorax.training import TrainConfig, build_agent

RESULTS = Path(__file__).parent.parent / "docs" / "results"
SECONDS = RESULTS / "seconds.csv"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is trained, and how well it is to do.

    Attributes:
        config: Settings of the agent; `total_steps` is the budget.
        bar: Mean return of the greedy policy that every seed is to reach at the end.
        reference: What is published, with its budget; or what chance gives.
        num_evaluations: Evaluations over the run.
        evaluation_length: Steps of each environment in an evaluation.
        stays_below: Whether it is the other way round: without a memory, say, no seed is to reach the bar.
    """

    config: TrainConfig
    bar: float
    reference: str
    num_evaluations: int = 20
    evaluation_length: int = 1000
    stays_below: bool = False

    def holds(self, returns: np.ndarray) -> bool:
        """Whether the last of the returns `[E, num_seeds]` are as they are to be."""
        return bool((returns[-1] < self.bar).all() if self.stays_below else (returns[-1] >= self.bar).all())


def _tmaze(algorithm: str, hyperparameters: Any, torso: str = "gru", **settings: Any) -> Experiment:
    """The T-maze with a corridor of ten steps."""
    config = TrainConfig(
        hyperparameters=hyperparameters,
        environment="memory::TMaze",
        algorithm=algorithm,
        torso=torso,
        **{"learning_rate": 1e-3, "total_steps": 300_000, **settings},
    )
    reference = "0.5 without memory, 1 at best"
    if torso == "mlp":
        return Experiment(config, 0.6, reference, evaluation_length=200, stays_below=True)
    return Experiment(config, 0.95, reference, evaluation_length=200)


TMAZE_PPO = PPOConfig(num_envs=16, num_steps=66, gamma=0.98, num_minibatches=4, ent_coef=0.03)
TMAZE_DQN = DQNConfig(
    num_envs=16,
    num_steps=12,
    gamma=0.98,
    num_updates=6,
    learning_starts=5_000,
    target_update_period=100,
    buffer_size=50_000,
    sequence_length=24,
    exploration_steps=60_000,
)
TMAZE_R2D2 = R2D2Config(
    num_envs=16,
    num_steps=12,
    gamma=0.98,
    num_updates=6,
    learning_starts=5_000,
    target_update_period=100,
    buffer_size=50_000,
    sequence_length=24,
    burn_in=12,
    period=12,
)
TMAZE_PQN = PQNConfig(num_envs=16, num_steps=33, gamma=0.98, exploration_steps=100_000)


def _repeat_previous(torso: str) -> Experiment:
    """Name the card seen three steps before."""
    config = TrainConfig(
        hyperparameters=R2D2Config(
            num_envs=16,
            num_steps=20,
            gamma=0.0,  # an action changes nothing but its own reward
            n_steps=1,
            num_updates=8,
            learning_starts=5_000,
            sequence_length=20,
            burn_in=10,
            period=10,
            target_update_period=100,
        ),
        environment="popgym::RepeatPreviousEasy",
        environment_options={"scale_reward": 25.0},  # the rewards of an episode add up to 1
        algorithm="r2d2",
        torso=torso,
        learning_rate=2e-3,
        max_grad_norm=10.0,
        total_steps=300_000,
    )
    return Experiment(config, 0.9, "-0.5 by chance, 1 at best", evaluation_length=160)


def _spread(algorithm: str, hyperparameters: PPOConfig, learning_rate: float, **options: Any) -> Experiment:
    """Three agents spread over three landmarks; returns are per agent, a third of what JaxMARL's logs add up."""
    config = TrainConfig(
        hyperparameters=hyperparameters,
        environment="jaxmarl::MPE_simple_spread_v3",
        environment_options=options,
        algorithm=algorithm,
        learning_rate=learning_rate,
        anneal_lr=True,
        total_steps=600_000,
    )
    return Experiment(
        config, -70 / 3, "-66 / 3 at 2 000 000 steps (JaxMARL); by chance -28.4", 10, evaluation_length=104
    )


def narrow_twin(head: nn.Module) -> nn.Module:
    """Twin values with two hidden layers of 64 features, enough for small tasks; any other head as it is."""
    return heads.Twin(head.head.clone(hidden_features=(64, 64))) if isinstance(head, heads.Twin) else head


def _sac(environment: str, bar: float, reference: str, total_steps: int, torso: str, **settings: Any) -> Experiment:
    """Recurrent SAC from sequences of 16 steps, an update for every fourth environment step, or as settings say."""
    options = settings.pop("environment_options", {})
    hyperparameters = {"num_envs": 4, "num_steps": 8, "num_updates": 8, "batch_size": 32, "sequence_length": 16}
    config = TrainConfig(
        environment=environment,
        environment_options=options,
        algorithm="sac",
        hyperparameters=SACConfig(**{**hyperparameters, **settings}),
        torso=torso,
        head="benchmarks.results:narrow_twin",
        previous_action="mask_observation" in options,
        learning_rate=1e-3,
        max_grad_norm=10.0,
        total_steps=total_steps,
    )
    return Experiment(config, bar, reference, num_evaluations=10, evaluation_length=400)


POSITION_ONLY: dict[str, Any] = {"environment_options": {"mask_observation": (0, 1)}, "gamma": 0.95}
"""Pendulum without its angular velocity."""

LATE_REWARDS: dict[str, Any] = {"num_envs": 8, "learn_temperature": False, "temperature": 0.02}
"""Where rewards are late, a fixed temperature does better."""


EXPERIMENTS: dict[str, Experiment] = {
    "ac_lambda_rtu_memory_chain_30": Experiment(
        TrainConfig(
            hyperparameters=ACLambdaConfig(trace_lambda=0.0, ent_coef=0.1),
            environment="gymnax::MemoryChain-bsuite",
            environment_options={"memory_length": 30},
            algorithm="ac_lambda",
            torso="rtu",
            # Real-time recurrent learning of units that forget little and turn slowly.
            torso_options={"rtrl": True, "r_min": 0.95, "r_max": 0.999, "max_phase": 0.05},
            features=32,
            optimizer="adam",
            learning_rate=3e-4,
            anneal_lr=True,
            total_steps=500_000,
        ),
        bar=0.9,
        reference="0 without memory, 1 at best",
        evaluation_length=3100,
    ),
    "ppo_cartpole": Experiment(
        TrainConfig(
            environment="gymnax::CartPole-v1",
            environment_options={"scale_reward": 0.1},
            algorithm="ppo",
            hyperparameters=PPOConfig(num_envs=8, num_steps=128, update_epochs=10, ent_coef=0.0),
            torso="mlp",
            learning_rate=1e-3,
            total_steps=200_000,
        ),
        bar=475,
        reference="the longest episode has 500 steps",
    ),
    "dqn_cartpole": Experiment(
        TrainConfig(
            environment="gymnax::CartPole-v1",
            environment_options={"scale_reward": 0.1},
            algorithm="dqn",
            hyperparameters=DQNConfig(
                num_envs=8,
                num_steps=2,
                num_updates=4,
                batch_size=64,
                sequence_length=1,
                buffer_size=50_000,
                learning_starts=2_000,
                target_update_period=500,
                exploration_steps=30_000,
                epsilon_end=0.02,
            ),
            torso="mlp",
            learning_rate=5e-4,
            max_grad_norm=10.0,
            total_steps=300_000,
        ),
        bar=475,
        reference="the longest episode has 500 steps",
    ),
    "pqn_cartpole": Experiment(
        TrainConfig(
            environment="gymnax::CartPole-v1",
            environment_options={"scale_reward": 0.1},
            algorithm="pqn",
            hyperparameters=PQNConfig(num_envs=16, num_steps=64, q_lambda=0.95, exploration_steps=60_000),
            torso="mlp",
            features=128,
            optimizer="radam",
            learning_rate=1e-3,
            anneal_lr=True,
            max_grad_norm=10.0,
            total_steps=300_000,
        ),
        bar=475,
        reference="495 at 500 000 steps (CleanRL)",
    ),
    "ippo_gru_spread": _spread(
        "ippo",
        PPOConfig(num_envs=16, num_steps=128, num_minibatches=2, clip_coef=0.3, ent_coef=0.01, vf_coef=1.0),
        learning_rate=1e-3,
    ),
    "mappo_gru_spread": _spread(
        "mappo",
        PPOConfig(num_envs=16, num_steps=128, num_minibatches=4, clip_coef=0.2, ent_coef=0.01),
        learning_rate=2e-3,
        global_state=True,
    ),
    "ppo_gru_tmaze": _tmaze("ppo", TMAZE_PPO, anneal_lr=True),
    "ppo_mlp_tmaze": _tmaze("ppo", TMAZE_PPO, "mlp", anneal_lr=True),
    "dqn_gru_tmaze": _tmaze("dqn", TMAZE_DQN),
    "dqn_mlp_tmaze": _tmaze("dqn", TMAZE_DQN, "mlp"),
    "r2d2_gru_tmaze": _tmaze("r2d2", TMAZE_R2D2),
    "r2d2_mlp_tmaze": _tmaze("r2d2", TMAZE_R2D2, "mlp"),
    "pqn_gru_tmaze": _tmaze("pqn", TMAZE_PQN),
    "pqn_mlp_tmaze": _tmaze("pqn", TMAZE_PQN, "mlp"),
    "r2d2_lstm_repeat_previous": _repeat_previous("lstm"),
    "r2d2_lru_repeat_previous": _repeat_previous("lru"),
    "sac_mlp_pendulum": _sac(
        *("gymnax::Pendulum-v1", -200, "-1200 by chance, about -150 at best", 15_000, "mlp"),
        num_steps=4,
        num_updates=16,
        batch_size=64,
        sequence_length=1,
    ),
    "sac_gru_position_only_pendulum": _sac(
        *("gymnax::Pendulum-v1", -300, "recurrent PPO has -218 after 100,000 steps", 30_000, "gru"), **POSITION_ONLY
    ),
    "sac_mlp_position_only_pendulum": dataclasses.replace(
        _sac("gymnax::Pendulum-v1", -800, "-1200 by chance", 30_000, "mlp", **POSITION_ONLY), stays_below=True
    ),
    "sac_gru_repeat_previous": _sac(
        *("popgym::RepeatPreviousEasy", 0.9, "-0.5 by chance, 1 at best", 40_000, "gru"), gamma=0.9, **LATE_REWARDS
    ),
    "sac_gru_tmaze": _sac(
        *("memory::TMaze", 0.95, "0.5 without memory, 1 at best", 40_000, "gru"), gamma=0.97, **LATE_REWARDS
    ),
    "pqn_gru_memory_chain": Experiment(
        TrainConfig(
            environment="gymnax::MemoryChain-bsuite",
            environment_options={"memory_length": 30},
            algorithm="pqn",
            hyperparameters=PQNConfig(num_envs=16, num_steps=64, q_lambda=0.95, exploration_steps=100_000),
            torso="gru",
            features=64,
            optimizer="radam",
            learning_rate=1e-3,
            max_grad_norm=10.0,
            total_steps=500_000,
        ),
        bar=0.9,
        reference="0 by chance, 1 at best",
        evaluation_length=320,
    ),
}
"""Every experiment, by its name."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to do.

    Attributes:
        names: Experiments to run, by name.
        plot: Draw the curves of all experiments that were run, and print the table.
        num_seeds: Agents trained side by side.
        seed: Random seed of the first.
        write: Keep the results in docs/results.
    """

    names: Annotated[list[str], tyro.conf.Positional] = dataclasses.field(default_factory=list)
    plot: bool = False
    num_seeds: int = 3
    seed: int = 0
    write: bool = True


def learning_curve(experiment: Experiment, num_seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train seeds side by side.

    Returns:
        Environment steps `[E]` at the evaluations, and the mean returns there, `[E, num_seeds]`.
    """
    agent = build_agent(experiment.config)
    interval = -(-experiment.config.total_steps // experiment.num_evaluations)
    length = experiment.evaluation_length * agent.cfg.num_envs

    @jax.jit
    @jax.vmap
    def evaluate(key: jax.Array, state: Any) -> jax.Array:
        return mean_return(agent.evaluate(key, state, length)[1])

    def advance(key: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        key, state, _ = agent.train(key, state, interval, keep=_nothing)
        return key, state

    advance_all = jax.jit(jax.vmap(advance), donate_argnums=1)
    keys, states = jax.jit(jax.vmap(agent.init))(jax.random.split(jax.random.key(seed), num_seeds))
    steps, curves = [], []
    for index in range(experiment.num_evaluations):
        keys, states = advance_all(keys, states)
        curves.append(np.asarray(evaluate(jax.random.split(jax.random.key(index), num_seeds), states)))
        steps.append(int(states.step[0]))
        print(f"{steps[-1]:>10,} steps: {np.array2string(curves[-1], precision=3)}", flush=True)
    return np.asarray(steps), np.stack(curves)


def _nothing(transition: Any, metrics: Any) -> tuple[()]:
    return ()


def write(name: str, steps: np.ndarray, returns: np.ndarray, seconds: float) -> None:
    """Keep a curve, and the time it took, in place of the former one."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    header = ",".join(["step", *(f"seed_{i}" for i in range(returns.shape[1]))])
    table = np.column_stack([steps, returns])
    formats = ["%d", *(["%.5g"] * returns.shape[1])]
    np.savetxt(RESULTS / f"{name}.csv", table, formats, delimiter=",", header=header, comments="")
    known = {**read_seconds(), name: round(seconds)}
    with SECONDS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("name", "seconds"), *sorted(known.items())])


def read_seconds() -> dict[str, int]:
    """The time that each experiment took when it was run last."""
    if not SECONDS.exists():
        return {}
    with SECONDS.open(newline="") as file:
        return {row["name"]: int(row["seconds"]) for row in csv.DictReader(file)}


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The curve of an experiment that was run: environment steps `[E]` and mean returns `[E, num_seeds]`."""
    table = np.genfromtxt(RESULTS / f"{name}.csv", delimiter=",", skip_header=1)
    return table[:, 0].astype(int), table[:, 1:]


def markdown() -> str:
    """The table of results: a row for each experiment that was run."""
    lines = [
        "| experiment | environment steps | bar | return of each seed | to compare | minutes |",
        "|---|---:|---:|---:|---|---:|",
    ]
    for name, seconds in sorted(read_seconds().items(), key=lambda item: list(EXPERIMENTS).index(item[0])):
        experiment, (steps, returns) = EXPERIMENTS[name], read(name)
        bar = f"{'below ' * experiment.stays_below}{experiment.bar:.4g}"
        seeds = ", ".join(f"{value:.4g}" for value in returns[-1])
        cells = (name, f"{steps[-1]:,}", bar, seeds, experiment.reference, f"{seconds / 60:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the experiments named, and draw."""
    options = tyro.cli(Options, description=__doc__)
    unknown = [name for name in options.names if name not in EXPERIMENTS]
    if unknown:
        raise SystemExit(f"error: unknown experiment {unknown[0]!r}: choose from {', '.join(EXPERIMENTS)}")
    for name in options.names:
        experiment = EXPERIMENTS[name]
        print(f"{name}: {options.num_seeds} seeds, {experiment.config.total_steps:,} steps each", flush=True)
        begin = time.monotonic()
        steps, returns = learning_curve(experiment, options.num_seeds, options.seed)
        seconds = time.monotonic() - begin
        print(f"{'holds' if experiment.holds(returns) else 'DOES NOT HOLD'} in {seconds:.0f} s", flush=True)
        if options.write:
            write(name, steps, returns, seconds)
    if options.plot:
        draw()
        print(markdown())


def draw() -> None:
    """Draw every curve in `docs/results`, a panel for each experiment, into `docs/results/curves.png`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in EXPERIMENTS if (RESULTS / f"{name}.csv").exists()]
    columns = 4
    figure, axes = plt.subplots(
        -(-len(names) // columns), columns, figsize=(4 * columns, 2.8 * -(-len(names) // columns)), squeeze=False
    )
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for name, axis in zip(names, axes.flat, strict=False):
        axis.plot(*read(name), color="tab:blue", linewidth=1, alpha=0.8)
        axis.axhline(EXPERIMENTS[name].bar, color="tab:red", linewidth=1, linestyle="--")
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("mean return of the greedy policy; each line is a seed, dashed the bar", fontsize=9)
    figure.tight_layout()
    figure.savefig(RESULTS / "curves.png", dpi=90)


if __name__ == "__main__":
    main()
