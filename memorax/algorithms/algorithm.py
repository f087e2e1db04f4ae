"""What every algorithm shares: init, train, warmup, evaluate."""

from __future__ import annotations

import abc
import functools
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from memorax import rollout as rollouts
from memorax.algorithms.argument_checks import (
    Settings,
    compiled_settings,
    copied,
    require_key,
    require_own_state,
    require_parts,
    require_state,
    require_unchanged,
    rounded_up,
    unchanged_settings,
)
from memorax.algorithms.environment_checks import check_environment_types
from memorax.algorithms.keep import Keep, KeepFunctions
from memorax.algorithms.network_checks import check_networks
from memorax.environments import host
from memorax.environments.environment import Environment, VectorEnvironment
from memorax.environments.spaces import policy_space
from memorax.networks.network import Network
from memorax.pickling import pack, unpack
from memorax.random_keys import key_for
from memorax.rollout import Policy, Worker
from memorax.types import Array, Carry, Key, Metrics, PyTree, Trajectory, Transition
from memorax.validation import LARGEST_COUNT, python_numbers, require_countable

MakeNetwork = Callable[[nn.Module], Network]
"""Builds a network around a head."""

NOTHING_TO_LEARN = (
    "nothing was learned from: no replayed step has a known successor, as where every episode is cut after one step. "
    "Set terminated where the return ends, or use PPO"
)
"""What is warned of where updates are made from steps that have no target."""

PRIVILEGED = "global_state"
"""The part of a dictionary observation that only the networks in `privileged` see."""


class AlgorithmState(struct.PyTreeNode):
    """What every algorithm's state holds; arrays only.

    Attributes:
        step: environment steps taken, over all environments; int32. It stays at 2^31 - 1, beyond which
            no schedule goes.
        worker: place of the policy in its environments, with its carry.
    """

    step: Array
    worker: Worker


class ReplayState(AlgorithmState):
    """What the state of an algorithm that learns from replay holds besides.

    Attributes:
        buffer: the replay buffer's state.
        updates: updates made, int32.
        targets: steps learned from in all updates, each time one is; float32.
    """

    buffer: PyTree
    updates: Array
    targets: Array


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

    A member declares `network_heads` and `optimizers` and implements `_init`, `_policy`, `acting_params` and `_learn`;
    one that learns from replay also `_store`. The four public methods are final, compiled inside, and compose with
    `jax.vmap` over keys and states. An agent's settings are compiled into its programs: they cannot be changed.

    Attributes:
        cfg: hyperparameters, with at least `num_envs` and `num_steps`.
        env, env_params: the environment and its parameters.
        networks: every network by the name of its constructor argument; the acting one comes first.
        has_memory: whether any of the networks has a carry.
    """

    network_heads: ClassVar[Mapping[str, Callable[[Any], nn.Module]]] = {}
    """For each network, by the name of its constructor argument, the head that fits an action space; the acting network
    comes first. `build` makes these; an algorithm that is only made from networks needs none."""

    optimizers: ClassVar[tuple[str, ...]]
    """Names of the constructor's arguments that are optimizers."""

    default_optimizers: ClassVar[Mapping[str, Callable[..., optax.GradientTransformation]]] = {}
    """For each of `optimizers` that is not Adam unless a run names another, what makes it: a function of the learning
    rate, which has a default of its own."""

    privileged: ClassVar[tuple[str, ...]] = ()
    """Names of the networks that see `observation["global_state"]`, where there is one."""

    donated: ClassVar[tuple[str, ...]] = ()
    """Fields of the state whose memory `train` and `warmup` take over: the state passed in loses them."""

    replays: ClassVar[bool] = False
    """Whether `_store` fills a replay buffer, so that `warmup` has something to do; the state is a `ReplayState`."""

    def __init__(self, cfg: Config, env: Environment, env_params: PyTree, networks: dict[str, Network]) -> None:
        """Check that everything fits. To be called last by a member's constructor.

        Args:
            cfg: hyperparameters.
            env: the environment.
            env_params: parameters of the environment.
            networks: every network by the name of its constructor argument; the acting one comes first.

        Raises:
            ValueError: if a head does not fit the action space, a torso does not keep the shape of its carry, or an
                environment's running statistics would leave a replay buffer with values of different scales.
        """
        require_parts(type(self), cfg, env)
        if self.replays and env.has_running_statistics:
            raise ValueError(
                f"{type(self).__name__} cannot learn from observations or rewards normalized by running statistics: "
                "what its buffer holds would keep the scale of the moment it was stored. Use scale_reward, or PPO"
            )
        self.cfg = python_numbers(cfg)
        require_countable(self.cfg)
        self.env = env
        self.env_params = env_params
        self.networks = types.MappingProxyType(networks)
        settings = copied(self._settings_now)
        check_environment_types(env, env_params)
        self._settings_when_built = unchanged_settings(settings, self._settings_now)
        self._check_environment()
        self._environments = env.vectorize(self.cfg.num_envs)
        self._keep_functions = KeepFunctions()
        self.has_memory = bool(jax.tree.leaves(check_networks(networks, self.network_heads, env, env_params)))
        self._check_settings()
        self._sealed = True

    def __setattr__(self, name: str, value: Any) -> None:
        if "_sealed" in vars(self):
            raise AttributeError(
                f"{name} of {type(self).__name__} cannot be set: it is compiled into the agent's programs. "
                "Make another agent"
            )
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return unpack, (type(self), pack(type(self).__name__, self.__getstate__()))

    def __copy__(self) -> Self:
        made = object.__new__(type(self))
        made.__setstate__(self.__getstate__())
        return made

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: everything but the compiled programs."""
        programs = {name for name in vars(self) if name.endswith("_compiled")}
        made_anew = {*programs, "_keep_functions"}
        return {name: value for name, value in vars(self).items() if name not in made_anew}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _keep_functions=KeepFunctions())

    @classmethod
    def build(
        cls,
        cfg: Config,
        env: Environment,
        env_params: PyTree,
        make_network: MakeNetwork,
        optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
    ) -> Self:
        """Make an agent whose networks differ only in their heads, which are chosen to fit the action space.

        Args:
            cfg: hyperparameters.
            env: the environment.
            env_params: parameters of the environment.
            make_network: builds a network around a head.
            optimizer: trains each network; or one for each name in `optimizers`.

        Raises:
            ValueError: if the algorithm has no head for the environment's actions, or an optimizer is missing.
        """
        require_parts(cls, cfg, env)
        space = policy_space(env.action_space(env_params))
        networks = {name: make_network(make_head(space)) for name, make_head in cls.network_heads.items()}
        for name in networks.keys() - set(cls.privileged):
            networks[name] = networks[name].clone(hidden=(PRIVILEGED,))
        constructor: Any = cls
        return constructor(python_numbers(cfg), env, env_params, **networks, **cls._optimizers_by_name(optimizer))

    @classmethod
    def _optimizers_by_name(
        cls, optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation]
    ) -> dict[str, optax.GradientTransformation]:
        if not isinstance(optimizer, Mapping):
            return dict.fromkeys(cls.optimizers, optimizer)
        if optimizer.keys() != set(cls.optimizers):
            raise ValueError(
                f"optimizer ({', '.join(optimizer)}) must name those of {cls.__name__}: {', '.join(cls.optimizers)}"
            )
        return dict(optimizer)

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

    def _check_environment(self) -> None:
        """Raise a `ValueError` where the algorithm has no use for the environment."""

    def _check_settings(self) -> None:
        """Raise a `ValueError` where settings do not fit together; everything of the agent is there."""

    @property
    def carry_interval(self) -> int:
        """Steps between two of the carries a rollout records; divides `cfg.num_steps`."""
        return self.cfg.num_steps

    def acting_carries(self, stored: Carry) -> Carry:
        """Of the carries that a replay buffer keeps, those of the acting network; nothing where it keeps none."""
        return stored

    @property
    def uses_recorded_carries(self) -> bool:
        """Whether learning starts from the carries a rollout recorded, where no episode starts."""
        return True

    # The public surface -------------------------------------------------------------------------------------------

    @property
    def compilations(self) -> int:
        """How often `train` has been compiled: once for each number of iterations and each `keep`."""
        return self._train_compiled._cache_size()

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps, over all environments, between two calls of `_learn`."""
        return self.cfg.num_envs * self.cfg.num_steps

    def steps_before(self, state: State) -> Array:
        """Environment steps taken before the rollout that `_learn` is given: what schedules of learning go by."""
        return jnp.maximum(state.step - self.steps_per_iteration, 0)

    def init(self, key: Key) -> tuple[Key, State]:
        """Reset the environments and initialise everything that learns.

        Returns:
            `(key, state)`.
        """
        require_key(key, "agent.init(key)")
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
            state: state to continue from. What an algorithm names in `donated` (a replay buffer) is taken over, so that
                it is never copied: go on with the state that is returned.
            num_steps: environment steps over all environments, rounded up to whole iterations.
            keep: what to keep of each iteration. By default its transitions; a long run keeps less. Pass the same
                function to every call: another one is compiled anew.

        Returns:
            `(key, state, transitions)`: a `Transition` with leaves `[num_envs, time, ...]` (with several agents in
            each environment `[num_envs * num_agents, time, ...]`), or, with `keep`, its
            results stacked over iterations.

        Raises:
            ValueError: if an argument is not what it is to be, as where `num_steps` is not positive.
        """
        iterations = self._iterations(key, state, num_steps, "agent.train(key, state, num_steps)")
        if not (keep is None or callable(keep)):
            raise ValueError(f"keep ({keep!r}) must be a function of an iteration's transitions and metrics")
        state, donated = self._split(state)
        keep = None if keep is None else self._keep_functions.compiled_before(keep)
        key, state, kept = self._call(self._train_compiled, key, state, donated, iterations, keep)
        if self.replays:
            _warn_if_nothing_can_be_learned(state)
        return key, state, kept

    def warmup(self, key: Key, state: State, num_steps: int) -> tuple[Key, State]:
        """Fill the replay buffer with exploratory steps, without learning.

        Args:
            key: random key.
            state: state to continue from; taken over as in `train`.
            num_steps: environment steps over all environments, rounded up to whole rollouts.

        Returns:
            `(key, state)`: the arguments, where the algorithm has no replay buffer.

        Raises:
            ValueError: if an argument is not what it is to be, as where `num_steps` is not positive.
        """
        iterations = self._iterations(key, state, num_steps, "agent.warmup(key, state, num_steps)")
        if not self.replays:
            return key, state
        state, donated = self._split(state)
        return self._call(self._warmup_compiled, key, state, donated, iterations)

    def evaluate(self, key: Key, state: State, num_steps: int, deterministic: bool = True) -> tuple[Key, Transition]:
        """Act in fresh environments, without learning; the state is not changed.

        Args:
            key: random key.
            state: state of the agent that acts.
            num_steps: environment steps over all environments, rounded up to a whole step in each.
            deterministic: act greedily; otherwise explore as in training.

        Returns:
            `(key, transitions)`, leaves `[num_envs, time, ...]`.

        Raises:
            ValueError: if an argument is not what it is to be, as where `num_steps` is not positive.
        """
        call = "agent.evaluate(key, state, num_steps)"
        require_key(key, call)
        require_state(self, state, call)
        steps = rounded_up(num_steps, self.cfg.num_envs)
        return self._call(self._evaluate_compiled, key, state, steps, deterministic)

    def policy(self, state: State, deterministic: bool = True) -> Policy:
        """How the agent acts, as a pure function; see `memorax.rollout.Policy`.

        Args:
            state: state of the agent.
            deterministic: act greedily; otherwise explore as in training.
        """
        return self._policy(state, explore=not deterministic)

    @property
    def _settings_now(self) -> Settings:
        return compiled_settings(self.cfg, self.env, self.env_params)

    # Compiled programs --------------------------------------------------------------------------------------------

    @functools.cached_property
    def _init_compiled(self) -> Any:
        return jax.jit(self._init_all)

    @functools.cached_property
    def _restart_compiled(self) -> Any:
        return jax.jit(self._restart_all)

    @functools.cached_property
    def _train_compiled(self) -> Any:
        return jax.jit(self._train_all, static_argnums=(3, 4), donate_argnums=2)

    @functools.cached_property
    def _warmup_compiled(self) -> Any:
        return jax.jit(self._warmup_all, static_argnums=3, donate_argnums=2)

    @functools.cached_property
    def _evaluate_compiled(self) -> Any:
        return jax.jit(self._evaluate_all, static_argnums=(2, 3))

    @functools.cached_property
    def others_compiled(self) -> dict[str, Any]:
        """Programs around this agent that others compiled and that are to be gone with it, by whose they are."""
        return {}

    # The loop -----------------------------------------------------------------------------------------------------

    # `init` and `train` use a key as it is; every other purpose first folds its name in, so that none of them meets the
    # episodes that were trained on, whatever key it is given.

    def _init_all(self, key: Key) -> tuple[Key, State]:
        key, env_key, init_key = jax.random.split(key, 3)
        return key, self._init(init_key, self._start(env_key, self._environments))

    def _restart_all(self, key: Key, state: State) -> tuple[Key, State]:
        key, env_key = jax.random.split(key_for(key, "restart"))
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
            key, rollout_key = jax.random.split(key_for(loop[0], "warmup"))
            return (key, self._store(*self.act(rollout_key, loop[1]))), None

        (key, state), _ = jax.lax.scan(iteration, (key, state.replace(**donated)), length=iterations)
        return key, state

    def _evaluate_all(self, key: Key, state: State, steps: int, deterministic: bool) -> tuple[Key, Transition]:
        key, env_key, rollout_key = jax.random.split(key_for(key, "evaluate"), 3)
        worker = self.enter(env_key, state, self._environments)
        worker, trajectory = self.play(rollout_key, state, self._environments, worker, steps, deterministic)
        host.close(worker.env_state)
        return key, trajectory.transition

    def enter(self, key: Key, state: State, environments: VectorEnvironment) -> Worker:
        """Where the agent stands at the start of an evaluation in `environments`, of any number."""
        return self._start(key_for(key, "enter"), environments.frozen(state.worker.env_state))

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
        policy = self.policy(state, deterministic)
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
            self.carry_interval,
        )
        room = LARGEST_COUNT - state.step
        return state.replace(worker=worker, step=state.step + jnp.minimum(self.steps_per_iteration, room)), trajectory

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
        require_unchanged(self._settings_when_built, self._settings_now)
        if not self.env.on_host:
            return program(*arguments)
        with host.own_errors():
            return jax.block_until_ready(program(*arguments))

    def _split(self, state: State) -> tuple[State, dict[str, PyTree]]:
        donated = {name: getattr(state, name) for name in self.donated}
        return state.replace(**dict.fromkeys(donated)), donated

    def _iterations(self, key: Key, state: State, num_steps: int, call: str) -> int:
        """The iterations that a call asks for, once its arguments are checked."""
        require_key(key, call)
        require_state(self, state, call)
        require_own_state(self, state)
        return rounded_up(num_steps, self.steps_per_iteration)


Agent = Algorithm[Any, Any]
"""An algorithm with its networks and its environment."""


def _warn_if_nothing_can_be_learned(state: Any) -> None:
    """Warn where updates were made and none of them had a step with a target."""
    if isinstance(state.updates, jax.core.Tracer) or state.updates.ndim:
        return
    if int(state.updates) > 0 and not float(state.targets) > 0:
        warnings.warn(NOTHING_TO_LEARN, stacklevel=3)
