"""Random play in a batch of environments, and what the check of environments looks at in it."""

from __future__ import annotations

import copy
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment, check_step_values
from memorax.environments.wrappers.batch_wrapper import BatchWrapper
from memorax.environments.wrappers.transform import Transform
from memorax.learning.exploration import random_actions
from memorax.testing.assertions import data, is_float
from memorax.types import Array, PyTree

BOTH = "terminated and truncated"
"""In the `info` of a step, while an environment is checked: whether `step_env` said that it is both."""

PASSED = "passed through step_env"
"""In the `info` of a step, while an environment is checked: what `step_env` was given and what it returned."""

FINAL, REWARD, ACTION = "the final observation", "the reward", "the action"
"""What passes through `step_env`."""


class Steps(NamedTuple):
    """What happened under random play: leaves `[T, B, ...]`."""

    observation: PyTree
    final_observation: PyTree
    reward: Array
    terminated: Array
    truncated: Array


class Seen(NamedTuple):
    """What else is looked at in a step, leaves `[T, B]`.

    Attributes:
        inside: whether observations lie in the space.
        both: whether the step is both terminated and truncated.
        as_at_first: for each leaf of the state, whether it is as it was at first.
        digests: for each leaf of the observation and of the state, a number that stands for it.
        passed: whether what the batch shows, or is given, is what its `step_env` returned, or was given. Empty where
            that cannot be seen.
    """

    inside: Array
    both: Array
    as_at_first: list[Array]
    digests: list[Array]
    passed: dict[str, Array]


class Play(NamedTuple):
    """Steps from a reset on: what the reset returned, the state after all steps, and what happened in them."""

    observation: PyTree
    state: PyTree
    digests: list[Array]
    after: PyTree
    steps: Steps
    seen: Seen


def programs(env: Environment, env_params: PyTree, num_steps: int, num_envs: int) -> tuple[Any, Any]:
    """Functions that are traced anew: `reset(key)`, and `roll(action_keys, step_keys, observation, state, alike)`.

    A reset returns the observation, the state and their digests. Where play goes on `alike`, every environment starts
    from the state of the first and gets its actions.
    """
    environments = _shows_steps(env).vectorize(num_envs)
    batch_size, agents = environments.batch_size, env.num_agents
    contains, action_space = jax.vmap(env.observation_space(env_params).contains), env.action_space(env_params)

    def reset(key: Array) -> tuple[PyTree, PyTree, list[Array]]:
        observation, state = environments.reset(key, env_params)
        return observation, state, _digests((observation, state))

    def roll(action_keys: Array, step_keys: Array, observation: PyTree, state: PyTree, alike: Array) -> Any:
        def of_the_first(tree: PyTree) -> PyTree:
            """The first environment's rows for all, where play goes on alike."""
            rows = jnp.arange(batch_size)
            by_lead = {batch_size: jnp.where(alike, rows % agents, rows)}
            by_lead[num_envs] = jnp.where(alike, 0, jnp.arange(num_envs)) if agents > 1 else by_lead[batch_size]
            return jax.tree.map(lambda x: x[by_lead[x.shape[0]]] if x.ndim and x.shape[0] in by_lead else x, tree)

        def step(carry: tuple[PyTree, PyTree], keys: tuple[Array, Array]) -> tuple[tuple[PyTree, PyTree], Any]:
            action = random_actions(keys[0], action_space, carry[0], batch_size)
            if not env.on_host:
                action = of_the_first(action)
            observation, after, reward, terminated, truncated, info = environments.step(
                keys[1], carry[1], action, env_params
            )
            steps = Steps(observation, info["final_observation"], reward, terminated, truncated)
            seen = Seen(
                inside=contains(observation) & contains(steps.final_observation),
                both=info.get(BOTH, jnp.zeros((batch_size,), bool)),
                as_at_first=[_alike(*leaves) for leaves in zip(*map(jax.tree.leaves, (after, state)), strict=True)],
                digests=_digests((observation, after)),
                passed=_passed(env, steps, action, info),
            )
            return (observation, after), (steps, seen)

        if not (env.on_host or env.batch_only):
            observation, state = of_the_first((observation, state))
        (_, after), (steps, seen) = jax.lax.scan(step, (observation, state), (action_keys, step_keys))
        return after, steps, seen

    return jax.jit(reset), jax.jit(roll)


@functools.partial(jax.jit, static_argnums=1)
def keys_of_steps(key: Array, num_steps: int) -> tuple[Array, Array]:
    """A key for the actions and one for the environments of each step."""
    keys = jax.vmap(jax.random.split)(jax.random.split(key, num_steps))
    return keys[:, 0], keys[:, 1]


@jax.jit
def _alike(x: Array, y: Array) -> Array:
    """Whether entries of the first axis are the same but for rounding, `[B]`; of a single number, whether it is."""
    x, y = jnp.asarray(data(x)), jnp.asarray(data(y))
    same = (jnp.abs(x - y) <= 1e-5 * jnp.maximum(1, jnp.abs(y))) if is_float(x) else x == y
    same |= (x == y) | ((x != x) & (y != y))
    return same.all(axis=range(1, same.ndim))


def _digests(tree: PyTree) -> list[Array]:
    """A number for each entry of the first axis of each leaf, uint32 `[B]`: as good as never the same by chance."""
    return [_digest(jnp.asarray(data(x))) for x in jax.tree.leaves(tree)]


@jax.jit
def _digest(x: Array) -> Array:
    if not x.ndim or not x.size:
        return jnp.zeros(x.shape[:1], jnp.uint32)
    if is_float(x):
        # 0 and -0 are equal, and so are all NaN.
        x = jnp.where(x == 0, 0, jnp.where(x != x, jnp.nan, x))
        x = jax.lax.bitcast_convert_type(jnp.real(x).astype(jnp.float32), jnp.uint32)
    rows = x.astype(jnp.uint32).reshape(x.shape[0], -1)
    # Numbers such as 1.0 and 2.0 differ in their upper bits alone, which products would push out.
    rows = (rows ^ (rows >> 16)) * jnp.uint32(0x85EBCA6B)
    rows = (rows ^ (rows >> 13)) * jnp.uint32(0xC2B2AE35)
    places = np.arange(1, 2 * rows.shape[1], 2, dtype=np.uint32) * np.uint32(0x9E3779B1)
    return jnp.sum((rows ^ (rows >> 16)) * places[None], axis=1, dtype=jnp.uint32)


def _passed(env: Environment, steps: Steps, action: PyTree, info: dict[str, Any]) -> dict[str, Array]:
    """Whether what the batch is given and shows is what passes through `step_env`, `[B]`, where that can be seen."""
    if PASSED not in info or isinstance(env, Transform | BatchWrapper):  # which change what passes
        return {}
    batch = {FINAL: steps.final_observation, REWARD: steps.reward, ACTION: action}
    leaves = {what: zip(*map(jax.tree.leaves, (batch[what], own)), strict=True) for what, own in info[PASSED].items()}
    return {what: jnp.stack([_alike(*pair) for pair in pairs]).all(axis=0) for what, pairs in leaves.items()}


def _shows_steps(env: Environment) -> Environment:
    """The same environment, whose own steps say in their `info` what passes through them.

    That is whether they are both terminated and truncated, their action, what was observed, and the reward.
    """
    shown = copy.copy(env)
    if isinstance(env, Transform | BatchWrapper):  # their batches step the batches of what is inside
        object.__setattr__(shown, "env", _shows_steps(env.env))
        return shown

    def step_env(*args: Any, **kwargs: Any) -> Any:
        made = env.step_env(*args, **kwargs)
        check_step_values(env.name, made)
        *rest, terminated, truncated, info = made
        both = jnp.asarray(terminated, bool) & jnp.asarray(truncated, bool)
        if env.has_agents:
            both = jnp.broadcast_to(both, (env.num_agents,))
        passed = {FINAL: made[0], REWARD: jnp.asarray(made[2], jnp.float32)}
        passed |= {ACTION: args[2]} if len(args) > 2 else {}  # unless it goes by its name
        return *rest, terminated, truncated, {**info, BOTH: both, PASSED: passed}

    object.__setattr__(shown, "step_env", step_env)
    return shown
