"""Changes of rollouts, from which an algorithm must learn otherwise, or must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from memorax.networks.network import ACTION_MASK
from memorax.testing.assertions import is_float
from memorax.types import Array, PyTree, Trajectory

Edit = Callable[[Any, Trajectory], tuple[Any, Trajectory]]
"""Changes what an iteration learns from: `(state, trajectory) -> (state, trajectory)`."""

NOWHERE = -1
"""In place of the parity of the sequences with which episodes start, where none does."""


def as_it_was(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """No change."""
    return state, trajectory


def then(first: Edit, second: Edit) -> Edit:
    """One change, then another."""
    return lambda state, trajectory: second(*first(state, trajectory))


def starts(interval: int, parity: int) -> Edit:
    """Episodes start where every other sequence does, and nowhere else: the even ones, the odd ones, or not at all."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        done = np.zeros(trajectory.reward.shape, bool)
        rows = np.arange(done.shape[0])[:, None] + np.arange(done.shape[1] // interval)
        done[:, ::interval] = rows % 2 == parity
        return state, trajectory.replace(timesteps=trajectory.timesteps.replace(done=done))

    return edit


def _nan_where(place: np.ndarray, tree: PyTree) -> PyTree:
    def poison(x: Array) -> np.ndarray:
        if not is_float(x):
            return np.asarray(x)
        return np.where(place.reshape(*place.shape, *(1,) * (x.ndim - place.ndim)), np.nan, x).astype(x.dtype)

    return jax.tree.map(poison, tree)


def poisoned_recorded(interval: int, at_starts: bool) -> Edit:
    """Recorded carries are NaN where a sequence starts an episode, or else where it does not."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        place = np.asarray(trajectory.timesteps.done)[:, ::interval] == at_starts  # (B, C)
        return state, trajectory.replace(carry=_nan_where(place, trajectory.carry))

    return edit


def poisoned_field(name: str, at_starts: bool) -> Edit:
    """A carry of the state is NaN where the rollout starts an episode, or else where it does not."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        place = np.asarray(trajectory.timesteps.done)[:, 0] == at_starts  # (B,)
        return state.replace(**{name: _nan_where(place, getattr(state, name))}), trajectory

    return edit


def ended(name: str) -> Edit:
    """Every step is an episode of its own, which terminated or was truncated."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        every = np.ones(trajectory.reward.shape, bool)
        ends = {"terminated": ~every, "truncated": ~every, name: every}
        return state, trajectory.replace(timesteps=trajectory.timesteps.replace(done=every), **ends)

    return edit


def goes_on_only_at(step: int, number: int = 1) -> Edit:
    """Every step terminates but one, or a number from there, after which the same episode goes on."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        terminated = np.ones(trajectory.reward.shape, bool)
        terminated[:, step : step + number] = False
        # The rollout before ended as this one does.
        timesteps = trajectory.timesteps.replace(done=np.roll(terminated, 1, axis=1))
        following = trajectory.next_timestep.replace(done=terminated[:, -1])
        ends = {"terminated": terminated, "truncated": np.zeros_like(terminated)}
        return state, trajectory.replace(timesteps=timesteps, next_timestep=following, **ends)

    return edit


def varied_observations(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """Observations of real numbers have noise in them, as those that are zero leave no trace."""
    noise = np.random.default_rng(0)

    def varied(x: Array) -> np.ndarray:
        return np.asarray(x + noise.normal(size=x.shape), x.dtype) if is_float(x) else np.asarray(x)

    timesteps, following, final = trajectory.timesteps, trajectory.next_timestep, trajectory.final_observation
    return state, trajectory.replace(
        timesteps=timesteps.replace(observation=jax.tree.map(varied, timesteps.observation)),
        next_timestep=following.replace(observation=jax.tree.map(varied, following.observation)),
        final_observation=jax.tree.map(varied, final),
    )


def paid_at_once(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """Every step terminates, so that it is worth its reward; what is remembered goes on as it was acted with."""
    every = np.ones(trajectory.reward.shape, bool)
    return state, trajectory.replace(terminated=every, truncated=~every)


def ended_nowhere(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """No episode ends or starts."""
    never = np.zeros(trajectory.reward.shape, bool)
    timesteps, following = trajectory.timesteps.replace(done=never), trajectory.next_timestep.replace(done=never[:, 0])
    return state, trajectory.replace(terminated=never, truncated=never, timesteps=timesteps, next_timestep=following)


def all_as_at(row: int, step: int) -> Edit:
    """Every step is the same one, and the first of an episode, so that whatever is remembered is the same at each."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        alike = trajectory.replace(next_timestep=None, carry=None)
        alike = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x)[row, step], x.shape), alike)
        timesteps = alike.timesteps.replace(done=np.ones_like(alike.timesteps.done))
        return state, alike.replace(timesteps=timesteps, next_timestep=trajectory.next_timestep, carry=trajectory.carry)

    return edit


def rising_rewards(slope: float) -> Edit:
    """Rewards rise in time, or fall."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        shape = trajectory.reward.shape
        later = np.broadcast_to(np.linspace(-slope, slope, shape[1], dtype=trajectory.reward.dtype), shape)
        return state, trajectory.replace(reward=later)

    return edit


def other_rewards(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """Rewards are larger, each by another number than the one before it."""
    reward = np.asarray(trajectory.reward)
    added = np.arange(reward.size, dtype=reward.dtype).reshape(reward.shape) % 5 + 1
    return state, trajectory.replace(reward=reward + added)


def other_reward_at(index: int, axis: int) -> Edit:
    """The rewards of one row (`axis` 0) or step (1) are other ones, and no larger than one where they were not."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        reward = np.array(trajectory.reward)
        changed = np.moveaxis(reward, axis, 0)[index]
        changed += np.where(changed > 0, -1, 1)
        return state, trajectory.replace(reward=reward)

    return edit


def paid_only_at(row: int, step: int, amount: float) -> Edit:
    """One step is paid an amount, and no other anything."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        reward = np.zeros_like(trajectory.reward)
        reward[row, step] = amount
        return state, trajectory.replace(reward=reward)

    return edit


def other_shown_at(name: str, row: int | slice, step: int) -> Edit:
    """What is shown at one step is something else: by `name` its observation, or the action or reward before it.

    In one row, or in a slice of the rows.
    """

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        def replaced(x: Array) -> np.ndarray:
            other = np.array(x)
            other[row, step] = changed(x)[row, step]
            return other

        timesteps = trajectory.timesteps
        other = {name: jax.tree.map(replaced, getattr(timesteps, name))}
        return state, trajectory.replace(timesteps=timesteps.replace(**other))

    return edit


def everything_allowed(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """Masks of actions allow all of them, before and after each step."""

    def allowing(observation: PyTree) -> PyTree:
        mask = observation[ACTION_MASK]
        return {**observation, ACTION_MASK: np.ones(mask.shape, mask.dtype)}

    timesteps, following = trajectory.timesteps, trajectory.next_timestep
    return state, trajectory.replace(
        timesteps=timesteps.replace(observation=allowing(timesteps.observation)),
        next_timestep=following.replace(observation=allowing(following.observation)),
        final_observation=allowing(trajectory.final_observation),
    )


def other_while_out(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """What agents see and are paid at steps in which they take no part is something else."""
    out = ~np.asarray(trajectory.info["active"])  # (B, T)

    def replaced(x: Array) -> np.ndarray:
        return np.where(out.reshape(*out.shape, *(1,) * (x.ndim - 2)), changed(x), x)

    timesteps = trajectory.timesteps
    observation = jax.tree.map(replaced, timesteps.observation)
    return state, trajectory.replace(
        timesteps=timesteps.replace(observation=observation), reward=replaced(trajectory.reward)
    )


def went_out(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """Agents go out with every step, and no episode terminates."""
    every = np.ones(trajectory.reward.shape, bool)
    timesteps = trajectory.timesteps.replace(done=every)
    info = {**trajectory.info, "went_out": every, "active": every}
    return state, trajectory.replace(terminated=~every, truncated=~every, timesteps=timesteps, info=info)


def other_final_observations(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """What steps led to is something else."""
    return state, trajectory.replace(final_observation=jax.tree.map(changed, trajectory.final_observation))


def other_next_observation(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """What the last step led to is something else, as what is seen next and as its final observation."""
    following, final = trajectory.next_timestep, trajectory.final_observation
    observation = jax.tree.map(changed, following.observation)
    return state, trajectory.replace(
        next_timestep=following.replace(observation=observation),
        final_observation=jax.tree.map(_last_replaced, final, jax.tree.map(changed, final)),
    )


def other_log_probabilities(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """Actions were a little less likely than is recorded, each by another number than the one before it."""
    log_prob = np.asarray(trajectory.extras["log_prob"])
    less = np.arange(log_prob.size, dtype=log_prob.dtype).reshape(log_prob.shape) % 5 / 50
    return state, trajectory.replace(extras={**trajectory.extras, "log_prob": log_prob - less})


def other_previous(name: str) -> Edit:
    """The action (`name` "action") or the reward before each step is another one, as it is shown to networks."""

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        timesteps = trajectory.timesteps
        other = {name: jax.tree.map(changed, getattr(timesteps, name))}
        return state, trajectory.replace(timesteps=timesteps.replace(**other))

    return edit


def other_last_observation(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
    """What was seen at the last step is something else."""
    timesteps = trajectory.timesteps
    other = jax.tree.map(changed, timesteps.observation)
    observation = jax.tree.map(_last_replaced, timesteps.observation, other)
    return state, trajectory.replace(timesteps=timesteps.replace(observation=observation))


def last_step_cut_off(at_limit: bool) -> Edit:
    """The last step is cut off by a time limit, or not, and leads to the same observation.

    All others terminate, so that nothing else is worth more than its reward.
    """

    def edit(state: Any, trajectory: Trajectory) -> tuple[Any, Trajectory]:
        terminated, truncated = np.ones(trajectory.reward.shape, bool), np.zeros(trajectory.reward.shape, bool)
        terminated[:, -1], truncated[:, -1] = False, at_limit
        following = trajectory.next_timestep
        reached = jax.tree.map(lambda x: x[:, None], following.observation)
        following = following.replace(
            action=jax.tree.map(lambda x: x[:, -1], trajectory.action),
            reward=trajectory.reward[:, -1],
            done=truncated[:, -1],
        )
        return state, trajectory.replace(
            terminated=terminated,
            truncated=truncated,
            final_observation=jax.tree.map(_last_replaced, trajectory.final_observation, reached),
            next_timestep=following,
        )

    return edit


def changed(x: Array) -> np.ndarray:
    """Another value of the same kind, each number by one; what is allowed (bool) stays as it is."""
    if is_float(x):
        return np.asarray(x + 1)
    return np.asarray(x) if x.dtype == bool else np.where(np.asarray(x) == 0, 1, np.asarray(x) - 1).astype(x.dtype)


def _last_replaced(x: Array, changed: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(x)[:, :-1], changed[:, -1:]], axis=1)
