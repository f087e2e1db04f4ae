"""The check of environments."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from memorax.environments.environment import Environment, VectorEnvironment
from memorax.learning.exploration import random_actions
from memorax.testing.assertions import equal, require, same, same_shapes
from memorax.types import Array, PyTree

NUM_STARTS = 16
"""Batches of first observations that are drawn to see what first observations are like; fewer on the host."""


class Steps(NamedTuple):
    """What happened under random play: leaves `[T, B, ...]`."""

    observation: PyTree
    final_observation: PyTree
    reward: Array
    terminated: Array
    truncated: Array


def check_environment(env: Environment, env_params: PyTree, num_steps: int = 200, num_envs: int = 4) -> None:
    """Check that an environment keeps the protocol, under random play. Illegal actions are not played.

    Observations, rewards and states keep the shapes, types and bounds of the spaces; the same key gives the same play.
    The final observation is the next one while an episode goes on. An episode that ends shows its own final observation
    and is followed by the first one of the next. The environments of a batch are drawn and stepped each by itself.

    What cannot be seen from outside: a final observation that is the next episode's first where first observations
    never vary, and a `step_env` that goes on to the next episode by itself, so that it never shows how one ended.

    Args:
        env: the environment.
        env_params: parameters of the environment.
        num_steps: steps in each environment; an episode must end within them.
        num_envs: environments stepped side by side.

    Raises:
        AssertionError: naming the truth that does not hold.
    """
    environments = env.vectorize(num_envs)
    batch_size = environments.batch_size
    observation_space, action_space = env.observation_space(env_params), env.action_space(env_params)
    contains = jax.vmap(observation_space.contains)

    def step(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], tuple[Steps, Array]]:
        observation, state = carry
        action_key, step_key = jax.random.split(key)
        action = random_actions(action_key, action_space, observation, batch_size)
        observation, state, reward, terminated, truncated, info = environments.step(step_key, state, action, env_params)
        steps = Steps(observation, info["final_observation"], reward, terminated, truncated)
        return (observation, state), (steps, contains(observation) & contains(steps.final_observation))

    @jax.jit
    def play(key: Array) -> tuple[PyTree, PyTree, PyTree, Steps, Array]:
        reset_key, step_key = jax.random.split(key)
        observation, state = environments.reset(reset_key, env_params)
        (_, after), (steps, inside) = jax.lax.scan(step, (observation, state), jax.random.split(step_key, num_steps))
        return observation, state, after, steps, contains(observation).all() & inside.all()

    first, state, after, steps, inside = play(jax.random.key(0))
    same_shapes("a step keeps the shapes and types of the state", state, after)
    steps = jax.tree.map(np.asarray, steps)
    same_shapes("reset and step observe alike", first, jax.tree.map(lambda x: x[0], steps.observation))
    same_shapes("final observations are built as observations are", steps.observation, steps.final_observation)
    sample = jax.eval_shape(jax.vmap(observation_space.sample), jax.random.split(jax.random.key(0), batch_size))
    same_shapes("observations have the space's shape and type", sample, first)
    require(bool(inside), "observations and final observations lie in the observation space")
    require(
        steps.reward.shape == (num_steps, batch_size) and bool(np.isfinite(steps.reward).all()),
        "rewards are finite scalars",
    )
    require(not bool((steps.terminated & steps.truncated).any()), "no step is both terminated and truncated")
    equal("the same key gives the same play", steps, play(jax.random.key(0))[3])

    starts = _starts(environments, env_params)
    _check_ends(env, steps, starts, num_steps)
    _check_batch(env, num_envs, (first, steps), play(jax.random.key(1))[::3][:2], starts)


def _starts(environments: VectorEnvironment, env_params: PyTree) -> PyTree:
    """First observations of several batches, leaves `[N, B, ...]`."""
    reset = jax.jit(lambda key: environments.reset(key, env_params)[0])
    keys = jax.random.split(jax.random.key(2), 4 if environments.env.on_host else NUM_STARTS)
    drawn = [reset(key) for key in keys]
    return jax.tree.map(lambda *x: np.stack(x), *drawn)


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
    steps = by_environment(_rows(play[1], 2), 1)  # (T, E, A, D)
    if not same(play, other):
        require(not bool((steps == steps[:, :1]).all()), truth)
