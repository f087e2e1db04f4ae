"""What every algorithm shares: init, train, warmup, evaluate."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from memorax import rollout as rollouts
from memorax.algorithms.network_checks import check_networks
from memorax.environments import host
from memorax.environments.environment import Environment, VectorEnvironment
from memorax.networks.network import Network
from memorax.rollout import Policy, Worker
from memorax.types import Array, Key, Metrics, PyTree, Trajectory, Transition

Keep = Callable[[Transition, Metrics], PyTree]
"""What `train` keeps of an iteration, given its transitions `[B, T, ...]` and its scalar metrics."""

MakeNetwork = Callable[[nn.Module], Network]
"""Builds a network around a head."""


class AlgorithmState(struct.PyTreeNode):
    """What every algorithm's state holds; arrays only.

    Attributes:
        step: environment steps taken, over all environments.
        worker: where the policy stands in its environments.
    """

    step: Array
    worker: Worker


class AlgorithmConfig(Protocol):
    """What every algorithm's config holds: environments side by side, and steps in each between two `_learn`."""

    @property
    def num_envs(self) -> int: ...

    @property
    def num_steps(self) -> int: ...


Config = TypeVar("Config", bound=AlgorithmConfig)
State = TypeVar("State", bound=AlgorithmState)


class Algorithm(abc.ABC, Generic[Config, State]):
    """An agent: a config, an environment and networks, and how they learn.

    A member implements `_init`, `_policy`, `acting_params`, `_learn` and `build`; one that learns from replay also
    `_store`. The four public methods are final, compiled inside, and compose with `jax.vmap` over keys and states.

    Attributes:
        cfg: hyperparameters, with at least `num_envs` and `num_steps`.
        env, env_params: the environment and its parameters.
        networks: every network by the name of its constructor argument; the acting one comes first.
        has_memory: whether any of the networks has a carry.
    """

    donated: ClassVar[tuple[str, ...]] = ()
    """Fields of the state whose memory `train` and `warmup` take over: the state passed in loses them."""

    replays: ClassVar[bool] = False
    """Whether `_store` fills a replay buffer, so that `warmup` has something to do."""

    def __init__(self, cfg: Config, env: Environment, env_params: PyTree, networks: dict[str, Network]) -> None:
        """Check that everything fits.

        Args:
            cfg: hyperparameters.
            env: the environment.
            env_params: its parameters.
            networks: every network by the name of its constructor argument; the acting one comes first.

        Raises:
            ValueError: if a head does not fit the action space or a torso does not keep the shape of its carry.
        """
        self.cfg = cfg
        self.env = env
        self.env_params = env_params
        self.networks = networks
        self._sequence_length = cfg.num_steps
        self._environments = env.vectorize(cfg.num_envs)
        self._init_compiled = jax.jit(self._init_all)
        self._restart_compiled = jax.jit(self._restart_all)
        self._train_compiled = jax.jit(self._train_all, static_argnums=(3, 4), donate_argnums=2)
        self._warmup_compiled = jax.jit(self._warmup_all, static_argnums=3, donate_argnums=2)
        self._evaluate_compiled = jax.jit(self._evaluate_all, static_argnums=(2, 3))
        carries = check_networks(networks, env, env_params)
        self.has_memory = bool(jax.tree.leaves(carries))

    @classmethod
    @abc.abstractmethod
    def build(
        cls,
        cfg: Config,
        env: Environment,
        env_params: PyTree,
        make_network: MakeNetwork,
        optimizer: optax.GradientTransformation,
    ) -> Self:
        """Make an agent whose networks differ only in their heads, which are chosen to fit the action space."""

    # What a member adds -------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _init(self, key: Key, worker: Worker) -> State:
        """The state before the first step; `worker` has just been reset."""

    @abc.abstractmethod
    def _policy(self, state: State, explore: bool) -> Policy:
        """How the agent acts: as in training where `explore`, greedily elsewhere."""

    @abc.abstractmethod
    def _learn(self, key: Key, state: State, trajectory: Trajectory) -> tuple[State, Metrics]:
        """Learn after a rollout; metrics are scalars."""

    @abc.abstractmethod
    def acting_params(self, state: State) -> PyTree:
        """The parameters of the network that acts, the first of `networks`."""

    def _store(self, state: State, trajectory: Trajectory) -> State:
        """Add a rollout to the replay buffer."""
        return state

    # The public surface -------------------------------------------------------------------------------------------

    @property
    def compilations(self) -> int:
        """How often `train` has been compiled: once for each number of iterations and each `keep`."""
        return self._train_compiled._cache_size()  # type: ignore[attr-defined]

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps, over all environments, between two calls of `_learn`."""
        return self.cfg.num_envs * self.cfg.num_steps

    def init(self, key: Key) -> tuple[Key, State]:
        """Reset the environments and initialise everything that learns.

        Returns:
            `(key, state)`.
        """
        return self._call(self._init_compiled, key)

    def restart(self, key: Key, state: State) -> tuple[Key, State]:
        """Go on in fresh environments: where the state was saved, and those it stands in could not be.

        Returns:
            `(key, state)`.
        """
        return self._call(self._restart_compiled, key, state)

    def train(self, key: Key, state: State, num_steps: int, keep: Keep | None = None) -> tuple[Key, State, Any]:
        """Act and learn.

        Args:
            key: random key.
            state: where to go on from. What an algorithm names in `donated` (a replay buffer) is taken over, so that
                it is never copied: go on with the state that is returned.
            num_steps: environment steps over all environments, rounded up to whole iterations.
            keep: what to keep of each iteration. By default its transitions; a long run keeps less.

        Returns:
            `(key, state, transitions)`: a `Transition` with leaves `[num_envs, time, ...]`, or, with `keep`, its
            results stacked over iterations.

        Raises:
            ValueError: if `num_steps` is not positive.
        """
        iterations = self._iterations(num_steps, self.steps_per_iteration)
        state, donated = self._split(state)
        return self._call(self._train_compiled, key, state, donated, iterations, keep)

    def warmup(self, key: Key, state: State, num_steps: int) -> tuple[Key, State]:
        """Fill the replay buffer with exploratory steps, without learning.

        Args:
            key: random key.
            state: where to go on from; taken over as in `train`.
            num_steps: environment steps over all environments, rounded up to whole rollouts.

        Returns:
            `(key, state)`: the arguments, where the algorithm has no replay buffer.

        Raises:
            ValueError: if `num_steps` is not positive.
        """
        iterations = self._iterations(num_steps, self.steps_per_iteration)
        if not self.replays:
            return key, state
        state, donated = self._split(state)
        return self._call(self._warmup_compiled, key, state, donated, iterations)

    def evaluate(self, key: Key, state: State, num_steps: int, deterministic: bool = True) -> tuple[Key, Transition]:
        """Act in fresh environments, without learning; the state is not changed.

        Args:
            key: random key.
            state: whose policy acts.
            num_steps: environment steps over all environments, rounded up to a whole step in each.
            deterministic: act greedily; otherwise explore as in training.

        Returns:
            `(key, transitions)`, leaves `[num_envs, time, ...]`.

        Raises:
            ValueError: if `num_steps` is not positive.
        """
        steps = self._iterations(num_steps, self.cfg.num_envs)
        return self._call(self._evaluate_compiled, key, state, steps, deterministic)

    # The loop -----------------------------------------------------------------------------------------------------

    def _init_all(self, key: Key) -> tuple[Key, State]:
        key, env_key, init_key = jax.random.split(key, 3)
        return key, self._init(init_key, self._start(env_key, self._environments))

    def _restart_all(self, key: Key, state: State) -> tuple[Key, State]:
        key, env_key = jax.random.split(key)
        # What training's environments have learned (running statistics) is kept, as it is in evaluation.
        environments = self._environments.frozen(state.worker.env_state)
        host.close(state.worker.env_state)
        return key, state.replace(worker=self._start(env_key, environments))

    def _train_all(
        self, key: Key, state: State, donated: dict[str, PyTree], iterations: int, keep: Keep | None
    ) -> tuple[Key, State, Any]:
        def iteration(loop: tuple[Key, State], _: None) -> tuple[tuple[Key, State], Any]:
            key, rollout_key, learn_key = jax.random.split(loop[0], 3)
            state, trajectory = self.act(rollout_key, loop[1])
            state, metrics = self._learn(learn_key, self._store(state, trajectory), trajectory)
            kept = trajectory.transition if keep is None else keep(trajectory.transition, metrics)
            return (key, state), kept

        (key, state), kept = jax.lax.scan(iteration, (key, state.replace(**donated)), length=iterations)
        if keep is None:
            kept = jax.tree.map(lambda x: jax.lax.collapse(jnp.moveaxis(x, 0, 1), 1, 3), kept)
        return key, state, kept

    def _warmup_all(self, key: Key, state: State, donated: dict[str, PyTree], iterations: int) -> tuple[Key, State]:
        def iteration(loop: tuple[Key, State], _: None) -> tuple[tuple[Key, State], None]:
            key, rollout_key = jax.random.split(loop[0])
            return (key, self._store(*self.act(rollout_key, loop[1]))), None

        (key, state), _ = jax.lax.scan(iteration, (key, state.replace(**donated)), length=iterations)
        return key, state

    def _evaluate_all(self, key: Key, state: State, steps: int, deterministic: bool) -> tuple[Key, Transition]:
        key, env_key, rollout_key = jax.random.split(key, 3)
        worker = self.enter(env_key, state, self._environments)
        worker, trajectory = self.play(rollout_key, state, self._environments, worker, steps, deterministic)
        host.close(worker.env_state)
        return key, trajectory.transition

    def enter(self, key: Key, state: State, environments: VectorEnvironment) -> Worker:
        """Where the agent stands at the start of an evaluation in `environments`, of any number."""
        return self._start(key, environments.frozen(state.worker.env_state))

    def play(
        self,
        key: Key,
        state: State,
        environments: VectorEnvironment,
        worker: Worker,
        num_steps: int,
        deterministic: bool = True,
    ) -> tuple[Worker, Trajectory]:
        """Go on from `worker` for `num_steps` steps in each of `environments`, without learning.

        Returns `(worker, trajectory)`, as `rollout` does.
        """
        policy = self._policy(state, explore=not deterministic)
        frozen = environments.frozen(state.worker.env_state)
        return rollouts.rollout(frozen, self.env_params, policy, worker, key, num_steps)

    def act(self, key: Key, state: State) -> tuple[State, Trajectory]:
        """One iteration's rollout, without learning. Returns `(state, trajectory)`."""
        policy = self._policy(state, explore=True)
        worker, trajectory = rollouts.rollout(
            self._environments,
            self.env_params,
            policy,
            state.worker,
            key,
            self.cfg.num_steps,
            self._sequence_length,
        )
        return state.replace(worker=worker, step=state.step + self.steps_per_iteration), trajectory

    def _start(self, key: Key, environments: VectorEnvironment) -> Worker:
        network = next(iter(self.networks.values()))
        env_key, carry_key = jax.random.split(key)
        return rollouts.start(
            env_key,
            environments,
            self.env_params,
            lambda timestep: network.initialize_carry(carry_key, timestep),
        )

    def _call(self, program: Callable[..., Any], *arguments: Any) -> Any:
        """Call a compiled program; where environments run on the host, what they raise is raised here."""
        if not self.env.on_host:
            return program(*arguments)
        with host.own_errors():
            return jax.block_until_ready(program(*arguments))

    def _split(self, state: State) -> tuple[State, dict[str, PyTree]]:
        donated = {name: getattr(state, name) for name in self.donated}
        return state.replace(**dict.fromkeys(donated)), donated

    @staticmethod
    def _iterations(num_steps: int, steps_per_iteration: int) -> int:
        if int(num_steps) < 1:
            raise ValueError(f"num_steps ({num_steps}) must be at least 1: it counts steps over all environments")
        return math.ceil(int(num_steps) / steps_per_iteration)
