"""The check of environments."""

from __future__ import annotations

import itertools

import jax
import numpy as np

from memorax.algorithms.argument_checks import require_environment
from memorax.algorithms.environment_checks import check_environment_types
from memorax.environments.environment import Environment
from memorax.testing.assertions import all_finite, equal, require, same, same_shapes
from memorax.testing.environment_ends import (
    BY_ITSELF,
    Start,
    chance_of_the_same,
    check_ends,
    check_first_states,
    check_resets_are_drawn,
    check_starts_by_the_key,
    check_starts_together,
    check_starts_vary,
    rows_of,
    seldom,
    starts_of,
)
from memorax.testing.environment_play import ACTION, FINAL, REWARD, Play, Steps, keys_of_steps, programs
from memorax.types import Array, PyTree
from memorax.validation import whole_number

NUM_STARTS = 16
"""Batches of first observations that are drawn to see what first observations are like; fewer on the host."""

NUM_PLAYS_ALIKE = 4
"""Plays from one state and with the same actions in every environment: chance has it seldom that they all go alike."""

NUM_PLAYS_OF_OTHERS = 3
"""Further plays with the same keys for the environments' steps, but other actions and from other first states."""


def check_environment(env: Environment, env_params: PyTree, num_steps: int = 200, num_envs: int = 4) -> None:
    """Check that an environment keeps the protocol, under random play. Illegal actions are not played.

    Observations, rewards and states keep the shapes, types and bounds of the spaces; where steps are truncated, some
    are not terminated as well; the same key gives the same play, when it is traced once more too. The final observation
    is the next one while an episode goes on. An episode that ends shows its own final observation and is followed by
    the first one, and by the first state, of the next, which is drawn anew, by the key alone: nothing of the episode
    before is left in it. The environments of a batch are drawn and stepped each by itself, also where several end at
    once, and each by its own action; it shows the final observation and the reward of its own `step_env`. Observations
    and rewards are finite.

    What cannot be seen from outside: a final observation that is the next episode's first where first observations
    never vary, a next episode that begins too late where neither first observations nor any part of first states are
    always the same, a `step_env` that goes on to the next episode by itself, so that it never shows how one ended, and
    a time limit that is reported as a termination. What is left of the episode before shows where one environment ends
    at the same step in two of several plays. Of an environment with running statistics nothing is checked about
    what follows an end, and of one that runs on the host, or is stepped in batches alone, nothing about whether steps
    share their random numbers, or about what is hidden in states. What passes through `step_env` is not seen inside
    transforms, and where several environments share first states, nothing is asked of those that end at once.

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
    reset, roll = programs(env, env_params, num_steps, num_envs)
    action_keys, step_keys = keys_of_steps(jax.random.key(0), num_steps)
    try:
        compiled_reset = reset.lower(jax.random.key(0)).compile()
        first, state, _ = compiled_reset(jax.random.key(0))
        lowered = roll.lower(action_keys, step_keys, first, state, False)
    except Exception:
        # Where it is known what is wrong with what the environment returns, this says so in a line.
        check_environment_types(env, env_params)
        raise
    compiled_roll = lowered.compile()

    def play(key: Array, others: Array | None = None) -> Play:
        """Play by a key; by another one, first states and actions are others while the keys of steps are the same."""
        reset_key, key = jax.random.split(key)
        action_keys, step_keys = keys_of_steps(key, num_steps)
        if others is not None:
            reset_key, key = jax.random.split(others)
            action_keys, _ = keys_of_steps(key, num_steps)
        observation, state, digests = compiled_reset(reset_key)
        after, steps, seen = compiled_roll(action_keys, step_keys, observation, state, False)
        steps, seen = jax.tree.map(np.asarray, (steps, seen))
        return Play(observation, state, digests, after, steps, seen)

    played = play(jax.random.key(0))
    _check_values(env, env_params, num_steps, num_envs * env.num_agents, played)
    equal("the same key gives the same play", played.steps, play(jax.random.key(0)).steps)
    if not env.on_host:
        # What is drawn while a program is traced is part of it from then on: another program may have drawn otherwise.
        _, roll = programs(env, env_params, num_steps, num_envs)
        again = roll.lower(action_keys, step_keys, first, state, False)
        if again.as_text() != lowered.as_text():
            once = compiled_roll(action_keys, step_keys, first, state, False)
            once_more = again.compile()(action_keys, step_keys, first, state, False)
            equal("the same key gives the same play, when it is traced once more too", once[1], once_more[1])

    keys = jax.random.split(jax.random.key(2), 4 if env.on_host else NUM_STARTS)
    drawn = [jax.tree.map(np.asarray, compiled_reset(key)[::2]) for key in keys]
    observed, digests = jax.tree.map(lambda *x: np.stack(x), *drawn)
    other = play(jax.random.key(1))
    check_ends(env, played.steps, observed, num_steps)
    starts = starts_of(env, num_envs, digests, (played, other))
    if not env.has_running_statistics:
        check_starts_vary(starts)
    if not (env.has_running_statistics or env.on_host):
        check_first_states(played, digests[len(jax.tree.leaves(observed)) :])
        check_resets_are_drawn(starts)
    draws_each_start = not (env.has_running_statistics or env.on_host) and env.num_fresh_states(num_envs) >= num_envs
    if draws_each_start:
        keys = jax.random.split(jax.random.key(3), NUM_PLAYS_OF_OTHERS)
        others = [play(jax.random.key(0), others=key) for key in keys]
        check_starts_by_the_key(starts_of(env, num_envs, digests, [played, *others]))
    if num_envs > 1:
        _check_batch(starts, played, other)
    if num_envs > 1 and not (env.on_host or env.batch_only):
        several = [keys_of_steps(jax.random.key(seed), num_steps)[1] for seed in range(NUM_PLAYS_ALIKE)]
        _check_alike(env, num_envs, [compiled_roll(action_keys, keys, first, state, True)[1] for keys in several])
    if draws_each_start:
        check_starts_together(starts)
    _check_passed(played)


def _check_values(env: Environment, env_params: PyTree, num_steps: int, batch_size: int, play: Play) -> None:
    """Shapes, types and bounds are those of the spaces."""
    first, steps, seen = play.observation, play.steps, play.seen
    same_shapes("a step keeps the shapes and types of the state", play.state, play.after)
    same_shapes("reset and step observe alike", first, jax.tree.map(lambda x: x[0], steps.observation))
    same_shapes("final observations are built as observations are", steps.observation, steps.final_observation)
    observation_space = env.observation_space(env_params)
    sample = jax.eval_shape(jax.vmap(observation_space.sample), jax.random.split(jax.random.key(0), batch_size))
    same_shapes("observations have the space's shape and type", sample, first)
    inside = bool(np.all(seen.inside)) and bool(jax.vmap(observation_space.contains)(first).all())
    require(inside, "observations and final observations lie in the observation space")
    # An unbounded box holds infinity, and no network can learn from it.
    all_finite("observations and final observations are finite", (first, steps.observation, steps.final_observation))
    require(
        steps.reward.shape == (num_steps, batch_size) and bool(np.isfinite(steps.reward).all()),
        "rewards are finite scalars",
    )
    require(
        bool(np.any(steps.truncated)) or not bool(np.any(seen.both)),
        "what a time limit cuts off is not terminated, as all is that is truncated here",
    )


def _check_batch(starts: list[Start], play: Play, other: Play) -> None:
    """The environments of a batch are several."""
    for start in starts:
        drawn = start.drawn  # (N, E, K)
        pairs = [(drawn[:, i] == drawn[:, j]).all() for i, j in itertools.combinations(range(drawn.shape[1]), 2)]
        if start.hidden:
            by_chance = seldom(chance_of_the_same(start), len(drawn), len(pairs))
            require(not any(pairs) or not by_chance, f"{BY_ITSELF}: {start.what} is the same in two at each reset")
            continue
        varied = len(np.unique(drawn[:, 0], axis=0)) > 1
        require(not (varied and bool((drawn == drawn[:, :1]).all())), BY_ITSELF)
        require(not any(pairs) or len(pairs) * chance_of_the_same(start) ** len(drawn) > 1e-3, BY_ITSELF)
    num_envs = starts[0].drawn.shape[1]
    steps = rows_of(play.steps, 2)  # (T, B, D)
    steps = steps.reshape(len(steps), num_envs, -1)
    if not same((play.observation, play.steps), (other.observation, other.steps)):
        require(not bool((steps == steps[:, :1]).all()), BY_ITSELF)


def _check_passed(play: Play) -> None:
    """A batch passes on what its environments return and are given."""
    truths = {
        ACTION: "each environment of a batch is stepped by its own action, and that of each agent is its own",
        FINAL: "the final observation of a step, at an end too, is what step_env of the same environment observes",
        REWARD: "the reward of a step is what step_env of the same environment returns",
    }
    for what, truth in truths.items():
        require(bool(np.all(play.seen.passed.get(what, True))), truth)


def _check_alike(env: Environment, num_envs: int, plays: list[Steps]) -> None:
    """From one state and with the same actions, environments part where their steps are random."""
    done = np.stack([np.asarray(steps.terminated | steps.truncated) for steps in plays]).any(axis=(0, 2))
    length = int(np.argmax(done)) + 1 if done.any() else done.size
    # Until the first end, itself included: what follows it is the next episode's.
    led_to = [(x.final_observation, x.reward, x.terminated, x.truncated) for x in plays]
    rows = np.stack([rows_of(jax.tree.map(lambda x: np.asarray(x)[:length], x), 2) for x in led_to])  # (N, T, B, D)
    rows = np.nan_to_num(rows.reshape(*rows.shape[:2], num_envs, -1))
    random = bool((rows[:, :, 0] != rows[:1, :, 0]).any())
    require(
        not random or bool((rows != rows[:, :, :1]).any()),
        f"{BY_ITSELF}: from one state and with the same actions they go alike, although steps are random",
    )
