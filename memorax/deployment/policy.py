"""A trained agent as something to call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.deployment.arguments import as_array, checked
from memorax.deployment.program import Arrays, Program
from memorax.environments.spaces import Space
from memorax.types import PyTree
from memorax.validation import described, random_seed, whole_number

FRESH = "fresh"
"""What a policy's carry holds besides that of its program: whether nothing was seen since `reset`, bool `[B]`."""


class Policy:
    """A trained agent that acts: it keeps its memory, its previous action and its normalisation itself.

        policy = memorax.load_policy("runs/my-run")
        observation, info = env.reset()
        done, reward = True, 0.0
        while ...:
            action = policy(observation, reward, done)
            observation, reward, terminated, truncated, info = env.step(action)
            done = terminated or truncated
            if done:
                observation, info = env.reset()

    Where several agents act in an environment, all arrays lead with an axis of agents, and `batch(n)` has rows for the
    agents of the first environment, then for those of the second, and so on.

    Args:
        program: what it computes.
        deterministic: act greedily; otherwise sample as in training.
        sampling_seed: random seed of what is sampled.
        num_envs: environments side by side, each array with a leading axis of rows; by default one, without that axis.
    """

    def __init__(
        self, program: Program, deterministic: bool = True, sampling_seed: int = 0, num_envs: int | None = None
    ) -> None:
        if not isinstance(program, Program):
            raise ValueError(f"program ({described(program)}) must be a program: load_policy makes policies")
        num_envs = None if num_envs is None else whole_number("num_envs", num_envs)
        if num_envs is not None and num_envs < 1:
            raise ValueError(f"num_envs ({num_envs}) must be at least 1: it counts environments side by side")
        if not isinstance(deterministic, bool | np.bool_):
            raise ValueError(f"deterministic ({deterministic!r}) must be True or False")
        self.program = program
        self.deterministic = deterministic
        self.num_envs = num_envs
        self._sampling_seed = random_seed("sampling_seed", sampling_seed)
        self._key = jax.random.key(self._sampling_seed)
        self._rows = (num_envs or 1) * program.num_agents
        self._lead = () if num_envs is None and program.num_agents == 1 else (self._rows,)
        self.reset()

    def __repr__(self) -> str:
        how = "greedy" if self.deterministic else "sampling"
        return f"Policy({how}, of {self.num_envs or 1} environments, {self.observation_space} -> {self.action_space})"

    @property
    def observation_space(self) -> Space:
        """What the environment shows, to one agent."""
        return self.program.observation_space

    @property
    def action_space(self) -> Space:
        """What the environment takes, from one agent."""
        return self.program.action_space

    @property
    def params(self) -> Arrays:
        """Everything that was learned, arrays by name."""
        return self.program.params

    def reset(self) -> None:
        """Forget everything: the next observation is the first of an episode. Random numbers go on."""
        self._carry = self.program.initial_carry(self.num_envs or 1)
        self._fresh = jnp.ones(self._rows, jnp.bool_)

    def batch(self, num_envs: int) -> Policy:
        """The same policy for `num_envs` environments side by side, with a memory of its own, from the beginning."""
        return Policy(self.program, self.deterministic, self._sampling_seed, num_envs)

    @property
    def carry(self) -> Arrays:
        """What it remembers: arrays by name, leaves `[B, ...]`, also where there is one environment.

        May be set, to what it was before, or to that of another policy with as many rows.
        """
        return {**self._carry, FRESH: self._fresh}

    @carry.setter
    def carry(self, carry: Mapping[str, Any]) -> None:
        if not isinstance(carry, Mapping):
            raise ValueError(f"carry ({described(carry)}) must be arrays by name: set one that a policy returned")
        carry = {name: jnp.asarray(leaf) for name, leaf in carry.items()}
        found, wanted = (
            {name: (leaf.shape, leaf.dtype) for name, leaf in arrays.items()} for arrays in (carry, self.carry)
        )
        if found != wanted:
            wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            raise ValueError(f"carry differs from that of this policy in {', '.join(wrong)}: set one that it returned")
        self._fresh = carry.pop(FRESH)
        self._carry = carry

    def __call__(self, observation: PyTree, reward: Any = 0.0, done: Any = False) -> Any:
        """Choose an action, or one for each row of a batch.

        Args:
            observation: an element of `observation_space`; in a batch `[B, ...]`.
            reward: what the environment paid for the action before; `[B]` in a batch.
            done: whether `observation` is the first of a new episode, that is, whether the environment was reset since
                the action before; `[B]` in a batch. After `reset()` it is taken to be.

        Returns:
            An element of `action_space`, in NumPy's types; in a batch `[B, ...]`.

        Raises:
            ValueError: if the observation, reward or done is of another shape or kind.
        """
        observation = jax.tree.map(np.asarray, checked(self.observation_space, observation, self._lead))
        reward, done = (
            np.broadcast_to(_per_row(name, value, kind, self._lead), (self._rows,))
            for name, value, kind in (("reward", reward, np.float32), ("done", done, np.bool_))
        )
        if not self._lead:
            observation = jax.tree.map(lambda x: x[None], observation)
        done = done | np.asarray(self._fresh)
        key = None
        if not self.deterministic:
            self._key, key = jax.random.split(self._key)
        action, self._carry = self.program.step(
            self.params, observation, self._carry, done, previous_reward=reward, key=key
        )
        self._fresh = jnp.zeros_like(self._fresh)
        action = jax.tree.map(np.asarray, action)
        return action if self._lead else jax.tree.map(lambda x: x[0], action)

    def run(self, env: Any, episodes: int = 10, seed: int | None = None) -> np.ndarray:
        """Play episodes of a `gymnasium` environment.

        Args:
            env: the environment.
            episodes: how many.
            seed: random seed of the environment's first reset; by default gymnasium draws one.

        Returns:
            The return of each episode, `[episodes]`.

        Raises:
            ValueError: if this is a policy of a batch or of several agents, the environment is none of gymnasium's, or
                the number of episodes or the seed is not valid.
        """
        # Here rather than above: only environments of gymnasium need the package.
        from memorax.deployment.gymnasium_episodes import play_episodes

        if self._lead:
            raise ValueError("run plays one environment with one agent: call a policy of a batch step by step")
        return play_episodes(self, env, episodes, seed)


def _per_row(name: str, value: Any, kind: Any, lead: tuple[int, ...]) -> np.ndarray:
    wanted = "True or False" if kind is np.bool_ else "a number"
    given = np.asarray(as_array(name, value, wanted))
    if kind is np.bool_ and not np.isin(given, (0, 1)).all():
        raise ValueError(f"{name} ({described(value)}) must be {wanted}")
    array = given.astype(kind)
    if array.shape not in ((), lead):
        raise ValueError(f"{name} {list(array.shape)} must be one value{f' or have the shape {[*lead]}' * bool(lead)}")
    return array
