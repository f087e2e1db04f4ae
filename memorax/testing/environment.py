"""The check of environments."""

from __future__ import annotations

import copy
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.argument_checks import require_environment
from memorax.algorithms.environment_checks import check_environment_types
from memorax.environments.environment import Environment, check_step_values
from memorax.environments.wrappers.batch_wrapper import BatchWrapper
from memorax.environments.wrappers.transform import Transform
from memorax.learning.exploration import random_actions
from memorax.testing.assertions import data, equal, is_float, require, same, same_shapes
from memorax.types import Array, PyTree
from memorax.validation import whole_number

NUM_STARTS = 16
"""Batches of first observations that are drawn to see what first observations are like; fewer on the host."""


NUM_PLAYS_ALIKE = 4
"""Plays from one state and with the same actions in every environment: chance has it seldom that they all go alike."""

BOTH = "terminated and truncated"
"""In the `info` of a step, while an environment is checked: whether `step_env` said that it is both."""


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
    """

    inside: Array
    both: Array
    as_at_first: list[Array]


def check_environment(env: Environment, env_params: PyTree, num_steps: int = 200, num_envs: int = 4) -> None:
    """Check that an environment keeps the protocol, under random play. Illegal actions are not played.

    Observations, rewards and states keep the shapes, types and bounds of the spaces; where steps are truncated, some
    are not terminated as well; the same key gives the same play, when it is traced once more too. The final observation
    is the next one while an episode goes on. An episode that ends shows its own final observation and is followed by
    the first one, and by the first state, of the next, which is drawn anew. The environments of a batch are drawn and
    stepped each by itself.

    What cannot be seen from outside: a final observation that is the next episode's first where first observations
    never vary, a next episode that begins too late where neither first observations nor any part of first states are
    always the same, a `step_env` that goes on to the next episode by itself, so that it never shows how one ended, and
    a time limit that is reported as a termination. Of an environment with running statistics nothing is checked about
    what follows an end, and of one that runs on the host, or is stepped in batches alone, nothing about whether steps
    share their random numbers.

    Args:
        env: the environment.
        env_params: parameters of the environment.
        num_steps: steps in each environment; an episode must end within them.
        num_envs: environments stepped side by side.

    Raises:
        AssertionError: naming the truth that does not hold.
        ValueError: if it is no environment, or what it returns is of another kind or number.
    """
    require_environment(env)
    num_steps, num_envs = whole_number("num_steps", num_steps), whole_number("num_envs", num_envs)
    batch_size = num_envs * env.num_agents
    reset, roll = _programs(env, env_params, num_steps, num_envs)
    action_keys, step_keys = _keys(jax.random.key(0), num_steps)
    try:
        compiled_reset = reset.lower(jax.random.key(0)).compile()
        first, state = compiled_reset(jax.random.key(0))
        lowered = roll.lower(action_keys, step_keys, first, state, False)
    except Exception:
        # Where it is known what is wrong with what the environment returns, this says so in a line.
        check_environment_types(env, env_params)
        raise
    compiled_roll = lowered.compile()

    def play(key: Array) -> tuple[PyTree, PyTree, PyTree, Steps, Seen]:
        reset_key, key = jax.random.split(key)
        observation, state = compiled_reset(reset_key)
        return observation, state, *compiled_roll(*_keys(key, num_steps), observation, state, False)

    first, state, after, steps, seen = play(jax.random.key(0))
    same_shapes("a step keeps the shapes and types of the state", state, after)
    steps = jax.tree.map(np.asarray, steps)
    same_shapes("reset and step observe alike", first, jax.tree.map(lambda x: x[0], steps.observation))
    same_shapes("final observations are built as observations are", steps.observation, steps.final_observation)
    observation_space = env.observation_space(env_params)
    sample = jax.eval_shape(jax.vmap(observation_space.sample), jax.random.split(jax.random.key(0), batch_size))
    same_shapes("observations have the space's shape and type", sample, first)
    inside = bool(seen.inside.all()) and bool(jax.vmap(observation_space.contains)(first).all())
    require(inside, "observations and final observations lie in the observation space")
    require(
        steps.reward.shape == (num_steps, batch_size) and bool(np.isfinite(steps.reward).all()),
        "rewards are finite scalars",
    )
    require(
        bool(steps.truncated.any()) or not bool(np.asarray(seen.both).any()),
        "what a time limit cuts off is not terminated, as all is that is truncated here",
    )
    equal("the same key gives the same play", steps, play(jax.random.key(0))[3])
    if not env.on_host:
        # What is drawn while a program is traced is part of it from then on: another program may have drawn otherwise.
        _, roll = _programs(env, env_params, num_steps, num_envs)
        again = roll.lower(action_keys, step_keys, first, state, False)
        if again.as_text() != lowered.as_text():
            once = compiled_roll(action_keys, step_keys, first, state, False)
            once_more = again.compile()(action_keys, step_keys, first, state, False)
            equal("the same key gives the same play, when it is traced once more too", once[1], once_more[1])

    keys = jax.random.split(jax.random.key(2), 4 if env.on_host else NUM_STARTS)
    drawn = [jax.tree.map(lambda x: np.asarray(data(x)), compiled_reset(key)) for key in keys]
    starts, first_states = jax.tree.map(lambda *x: np.stack(x), *drawn)
    _check_ends(env, steps, starts, num_steps)
    _check_starts_vary(env, steps, first, starts)
    _check_first_states(env, steps, first_states, seen)
    _check_batch(env, num_envs, (first, steps), play(jax.random.key(1))[::3][:2], starts)
    if num_envs > 1 and not (env.on_host or env.batch_only):
        several = [_keys(jax.random.key(seed), num_steps)[1] for seed in range(NUM_PLAYS_ALIKE)]
        _check_alike(env, num_envs, [compiled_roll(action_keys, keys, first, state, True)[1] for keys in several])


def _programs(env: Environment, env_params: PyTree, num_steps: int, num_envs: int) -> tuple[Any, Any]:
    """Functions that are traced anew: `reset(key)`, and `roll(action_keys, step_keys, observation, state, alike)`.

    Where play goes on `alike`, every environment starts from the state of the first and gets its actions.
    """
    environments = _shows_ends(env).vectorize(num_envs)
    batch_size, agents = environments.batch_size, env.num_agents
    contains, action_space = jax.vmap(env.observation_space(env_params).contains), env.action_space(env_params)

    def reset(key: Array) -> tuple[PyTree, PyTree]:
        return environments.reset(key, env_params)

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
            )
            return (observation, after), (steps, seen)

        if not (env.on_host or env.batch_only):
            observation, state = of_the_first((observation, state))
        (_, after), (steps, seen) = jax.lax.scan(step, (observation, state), (action_keys, step_keys))
        return after, steps, seen

    return jax.jit(reset), jax.jit(roll)


@functools.partial(jax.jit, static_argnums=1)
def _keys(key: Array, num_steps: int) -> tuple[Array, Array]:
    """A key for the actions and one for the environments of each step."""
    keys = jax.vmap(jax.random.split)(jax.random.split(key, num_steps))
    return keys[:, 0], keys[:, 1]


def _alike(x: Array, y: Array) -> Array:
    """Whether entries of the first axis are the same but for rounding, `[B]`; of a single number, whether it is."""
    x, y = jnp.asarray(data(x)), jnp.asarray(data(y))
    same = (jnp.abs(x - y) <= 1e-5 * jnp.maximum(1, jnp.abs(y))) if is_float(x) else x == y
    same |= (x == y) | ((x != x) & (y != y))
    return same.all(axis=range(1, same.ndim))


def _shows_ends(env: Environment) -> Environment:
    """The same environment, whose own steps say in their `info` whether they are both terminated and truncated."""
    shown = copy.copy(env)
    if isinstance(env, Transform | BatchWrapper):  # their batches step the batches of what is inside
        object.__setattr__(shown, "env", _shows_ends(env.env))
        return shown

    def step_env(*args: Any, **kwargs: Any) -> Any:
        made = env.step_env(*args, **kwargs)
        check_step_values(env.name, made)
        *rest, terminated, truncated, info = made
        both = jnp.asarray(terminated, bool) & jnp.asarray(truncated, bool)
        if env.has_agents:
            both = jnp.broadcast_to(both, (env.num_agents,))
        return *rest, terminated, truncated, {**info, BOTH: both}

    object.__setattr__(shown, "step_env", step_env)
    return shown


def _rows(tree: PyTree, lead: int) -> np.ndarray:
    """Every entry of the first `lead` axes as one row of numbers, `[..., D]`."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape(*x.shape[:lead], -1).astype(np.float64) for x in leaves], axis=-1)


def _check_ends(env: Environment, steps: Steps, starts: PyTree, num_steps: int) -> None:
    """What follows a step is observed once where the episode goes on, twice where the next one begins."""
    done = np.asarray(steps.terminated | steps.truncated)
    observation, final = _rows(steps.observation, 2), _rows(steps.final_observation, 2)
    alike = ((observation == final) | (np.isnan(observation) & np.isnan(final))).all(axis=-1)  # (T, B)
    require(bool(alike[~done].all()), "the final observation is the next one while an episode goes on")
    require(
        bool(done.any()),
        f"an episode of {env.name} ends within num_steps ({num_steps}) of random play: nothing about ends was checked, "
        "pass more num_steps",
    )
    if env.has_running_statistics:  # what is observed changes scale from step to step
        return
    first = _rows(starts, 2)
    kinds, counts = np.unique(first.reshape(-1, first.shape[-1]), axis=0, return_counts=True)
    if len(kinds) == 1:
        # Others may come too, though so rarely that none was drawn.
        require(
            (observation[done] == kinds).all(axis=-1).mean() > 0.5,
            "an episode that ended is followed by the first observation of the next",
        )
    # By chance an end looks like the next start at most as often as the most frequent start does. Agents end together.
    by_chance = (int(np.max(counts)) / int(np.sum(counts))) ** (done.sum() / env.num_agents)
    require(
        not bool(alike[done].all()) or bool(by_chance > 1e-3),
        "an episode ends with its own final observation and is followed by the next one's first: the two are the "
        "same wherever an episode ended, although first observations vary",
    )


def _check_starts_vary(env: Environment, steps: Steps, first: PyTree, starts: PyTree) -> None:
    """Where first observations vary, episodes do not all begin alike, or as the one before them did."""
    if env.has_running_statistics:
        return
    agents, chance = env.num_agents, _chance_of_the_same_start(env, starts)
    # Agents end together: what all of them observe is the start of one environment.
    done = np.asarray(steps.terminated | steps.truncated)[:, ::agents]  # (T, E)
    observation = _rows(steps.observation, 2)
    observation = observation.reshape(*done.shape, -1)
    firsts = _rows(first, 1).reshape(done.shape[1], -1)
    begun = [observation[done[:, i], i] for i in range(done.shape[1])]  # for each environment (N, D)
    every = np.concatenate(begun)
    repeated = {
        "the environment's first": [x == y for x, y in zip(begun, firsts, strict=True)],
        "the one before it": [x[1:] == x[:-1] for x in begun],
        "any other": [every[1:] == every[:-1]],
    }
    for which, comparisons in repeated.items():
        alike: np.ndarray = np.all(np.concatenate(comparisons), axis=-1)
        require(
            not alike.all() or chance ** len(alike) > 1e-3,
            f"an episode that ended is followed by a start that is drawn anew: although first observations vary, each "
            f"of {len(alike)} began as {which} did",
        )


def _chance_of_the_same_start(env: Environment, starts: PyTree) -> float:
    """How often the most frequent first observation is seen: two are alike no more often, by chance."""
    rows = _rows(starts, 2)  # (N, B, D)
    _, counts = np.unique(rows.reshape(rows.shape[0] * rows.shape[1] // env.num_agents, -1), axis=0, return_counts=True)
    return int(np.max(counts)) / int(np.sum(counts))


def _check_first_states(env: Environment, steps: Steps, first_states: PyTree, seen: Seen) -> None:
    """What is the same in all first states, such as a count of steps, is so again after an end."""
    if env.has_running_statistics or env.on_host:
        return
    done = np.asarray(steps.terminated | steps.truncated)  # (T, B)
    for leaf, as_at_first in zip(jax.tree.leaves(first_states), map(np.asarray, seen.as_at_first), strict=True):
        if as_at_first.ndim != 2 or done.shape[1] % as_at_first.shape[1]:
            continue
        kept = np.repeat(as_at_first, done.shape[1] // as_at_first.shape[1], axis=1)
        # Others may come too, though so rarely that none was drawn.
        require(
            bool((leaf != leaf[0, 0]).any()) or kept[done].mean() > 0.5,
            "an episode that ended is followed by the first state of the next: a part that is the same in all first "
            "states is another one there",
        )


def _check_alike(env: Environment, num_envs: int, plays: list[Steps]) -> None:
    """From one state and with the same actions, environments part where their steps are random."""
    done = np.stack([np.asarray(steps.terminated | steps.truncated) for steps in plays]).any(axis=(0, 2))
    length = int(np.argmax(done)) + 1 if done.any() else done.size
    # Until the first end, itself included: what follows it is the next episode's.
    led_to = [(x.final_observation, x.reward, x.terminated, x.truncated) for x in plays]
    rows = np.stack([_rows(jax.tree.map(lambda x: np.asarray(x)[:length], x), 2) for x in led_to])  # (N, T, B, D)
    rows = np.nan_to_num(rows.reshape(*rows.shape[:2], num_envs, -1))
    random = bool((rows[:, :, 0] != rows[:1, :, 0]).any())
    require(
        not random or bool((rows != rows[:, :, :1]).any()),
        "the environments of a batch are drawn and stepped each by itself, not one for all: from one state and with "
        "the same actions they go alike, although steps are random",
    )


def _check_batch(
    env: Environment, num_envs: int, play: tuple[PyTree, Steps], other: tuple[PyTree, Steps], starts: PyTree
) -> None:
    """The environments of a batch are several."""
    if num_envs == 1:
        return
    truth = "the environments of a batch are drawn and stepped each by itself, not one for all"

    def by_environment(x: np.ndarray, axis: int) -> np.ndarray:
        return x.reshape(*x.shape[:axis], num_envs, env.num_agents, *x.shape[axis + 1 :])

    first = by_environment(_rows(starts, 2), 1)  # (N, E, A, D)
    varied = len(np.unique(first[:, 0].reshape(len(first), -1), axis=0)) > 1
    require(not (varied and bool((first == first[:, :1]).all())), truth)
    pairs = [(first[:, i] == first[:, j]).all() for i, j in itertools.combinations(range(num_envs), 2)]
    by_chance = len(pairs) * _chance_of_the_same_start(env, starts) ** len(first)
    require(not any(pairs) or by_chance > 1e-3, truth)
    steps = by_environment(_rows(play[1], 2), 1)  # (T, E, A, D)
    if not same(play, other):
        require(not bool((steps == steps[:, :1]).all()), truth)
