"""The data types and the layout of arrays that every part of the library uses.

Public arrays are `[B, T, ...]`: environments, time, features. Two words meet at each index `t`:

* a *timestep* is what a network sees at `t`: the observation and what arrived with it, the previous action,
  the previous reward and the previous `done`. `done[t]` of a timestep therefore says that observation `t` is
  the first of an episode: the carry is reset before `t` is consumed.
* a *transition* is what happened at `t`: the observation, the action chosen for it, the reward and the `done`
  that followed. `terminated` ends the return, `truncated` (a time limit) does not.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array
Key = jax.Array
PyTree = Any
Carry = PyTree
Metrics = dict[str, Array]


class Timestep(struct.PyTreeNode):
    """What a network sees: leaves `[B, ...]` for one step, `[B, T, ...]` for a sequence.

    Attributes:
        observation: any pytree of arrays.
        action: the previous action, zero where `done`.
        reward: the previous reward, float32, zero where `done`.
        done: whether the observation is the first of an episode, bool.
    """

    observation: PyTree
    action: PyTree
    reward: Array
    done: Array


class Transition(struct.PyTreeNode):
    """What happened at each step: leaves `[B, T, ...]`.

    Attributes:
        observation: the observation that was acted upon.
        action: the action taken, in the units the policy chose it in: `-1 ... 1` for bounded numbers.
        reward: the reward that followed, float32.
        terminated: whether the episode ended and the return with it, bool.
        truncated: whether the episode was cut off by a time limit, bool; never true together with `terminated`.
        info: `returned_episode` (bool), `returned_episode_returns` and `returned_episode_lengths` (those of the
            episode that ended last, repeated until the next end; 0 before the first), and whatever the environment
            reports. `memorax.evaluation.mean_return` takes the mean over an evaluation's episodes.
    """

    observation: PyTree
    action: PyTree
    reward: Array
    terminated: Array
    truncated: Array
    info: dict[str, PyTree]

    @property
    def done(self) -> Array:
        """Whether the episode ended with this step, for either reason."""
        return self.terminated | self.truncated


class Trajectory(struct.PyTreeNode):
    """A rollout as learning needs it: leaves `[B, T, ...]` unless said otherwise.

    Attributes:
        timesteps: exactly what the policy's network saw.
        action, reward, terminated, truncated, info: action, reward, ends and info of each step, as in `Transition`.
        final_observation: the observation each step led to, before any reset.
        extras: whatever the policy wants recorded.
        carry: the policy's carry before the first step of each of the `C` sequences the rollout consists of,
            `[B, C, ...]`.
        next_timestep: the timestep that follows the last one, `[B, ...]`.
    """

    timesteps: Timestep
    action: PyTree
    reward: Array
    terminated: Array
    truncated: Array
    final_observation: PyTree
    extras: PyTree
    info: dict[str, PyTree]
    carry: Carry
    next_timestep: Timestep

    @property
    def active(self) -> Array | None:
        """Whether each step counts, bool `[B, T]`: an agent that went out takes no part in those that follow.

        It is `info["active"]`, and None where the environment says nothing of it: then every step does.
        """
        return self.info.get("active")

    @property
    def ended(self) -> Array:
        """Whether the return ended with each step, bool `[B, T]`: the episode terminated, or the agent went out."""
        return self.terminated | self.info["went_out"] if "went_out" in self.info else self.terminated

    @property
    def done(self) -> Array:
        """Whether the episode ended with each step, for either reason."""
        return self.terminated | self.truncated

    @property
    def transition(self) -> Transition:
        """The user's view of the rollout."""
        return Transition(
            observation=self.timesteps.observation,
            action=self.action,
            reward=self.reward,
            terminated=self.terminated,
            truncated=self.truncated,
            info=self.info,
        )


def where(condition: Array, on_true: PyTree, on_false: PyTree) -> PyTree:
    """Select between two pytrees, leaf by leaf.

    Args:
        condition: bool, `[B]` or any shape that leads the shape of every leaf.
        on_true: a pytree of arrays.
        on_false: a pytree of the same structure and shapes.

    Returns:
        The leaves of `on_true` where `condition`, of `on_false` elsewhere. A NaN on the side that is not
        selected does not survive.
    """

    def select(a: Array, b: Array) -> Array:
        axes = tuple(range(condition.ndim, jnp.ndim(b)))
        return jnp.where(jnp.expand_dims(condition, axes), a, b)

    return jax.tree.map(select, on_true, on_false)
