"""Plays environments of the `gymnasium` package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from memorax.environments.gymnasium_spaces import to_gymnasium, to_ours
from memorax.environments.spaces import Dict
from memorax.types import PyTree
from memorax.validation import described, random_seed, whole_number

if TYPE_CHECKING:
    from memorax.deployment.policy import Policy

MASK = "action_mask"


def play_episodes(policy: Policy, env: Any, episodes: int, seed: int | None) -> np.ndarray:
    """See `Policy.run`."""
    episodes = whole_number("episodes", episodes)
    if episodes < 1:
        raise ValueError(f"episodes ({episodes}) must be at least 1")
    seed = None if seed is None else random_seed("seed", seed)
    if isinstance(env, type) or not all(hasattr(env, name) for name in ("reset", "step", "action_space", "unwrapped")):
        raise ValueError(
            f"env ({described(env)}) must be one of gymnasium's, as gymnasium.make returns it: in any other, call the "
            "policy step by step"
        )
    returns = []
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None)
        reward, done, ended, total = 0.0, True, False, 0.0
        while not ended:
            chosen = policy(_observed(policy, env, observation, info), reward, done)
            observation, reward, terminated, truncated, info = env.step(to_gymnasium(env.action_space, chosen))
            total += float(reward)
            done, ended = False, terminated or truncated
        returns.append(total)
    return np.asarray(returns)


def _observed(policy: Policy, env: Any, observation: Any, info: dict[str, Any]) -> PyTree:
    """An observation as the agent was trained with; a mask of legal actions comes in `info`."""
    ours = to_ours(env.observation_space, observation)
    space = policy.observation_space
    masked = isinstance(space, Dict) and set(space.spaces) == {"observation", MASK} and MASK in info
    return {"observation": ours, MASK: np.asarray(info[MASK], bool)} if masked else ours
