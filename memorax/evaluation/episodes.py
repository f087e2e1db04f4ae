"""Which episodes of an evaluation count, and their mean return."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from memorax.types import Array, Transition
from memorax.validation import described


@struct.dataclass
class EvaluatedEpisodes:
    """The episodes of an evaluation that count, marked at their last steps.

    Attributes:
        counted: bool `[..., B, T]`, true at the last step of each episode that counts.
        returns: float32 `[..., B, T]`, the undiscounted return of the episode at the steps where `counted`.
        lengths: int32 `[..., B, T]`, its length in steps there.
        unfinished: bool `[..., B]`, whether the evaluation ended before the environment's first episode did: that
            episode counts with the return and the length it had reached.
    """

    counted: Array
    returns: Array
    lengths: Array
    unfinished: Array


def evaluated_episodes(transitions: Transition) -> EvaluatedEpisodes:
    """Select the episodes of an evaluation that count: the first `k` of each environment.

    `k` is the smallest number of episodes that any of the environments completed. To count every completed episode
    would count short ones too often, as more of them fit. Where some environment completed none, `k` is 1 and what
    that environment's first episode had reached counts: to leave it out would count the short episodes only. The mean
    is then that of episodes cut off after `T` steps; a longer evaluation mends it.

    Args:
        transitions: what `Algorithm.evaluate` returns, leaves `[..., B, T]`; every environment starts an episode at
            its first step.
    """
    ended = transitions.info["returned_episode"]  # (..., B, T)
    number = jnp.cumsum(ended, axis=-1)  # the how-manieth end each one is, from 1
    completed = number[..., -1]  # (..., B)
    fewest = jnp.maximum(1, completed.min(axis=-1))[..., None, None]
    unfinished = completed == 0
    last_step = jnp.arange(ended.shape[-1]) == ended.shape[-1] - 1  # (T,)
    cut_off = unfinished[..., None] & jnp.broadcast_to(last_step, ended.shape)  # (..., B, T)
    # A wrapper that changes rewards reports the environment's own, of which returns consist.
    reward = transitions.info.get("raw_reward", transitions.reward)
    reached = reward.sum(axis=-1, keepdims=True)  # (..., B, 1)
    return EvaluatedEpisodes(
        counted=(ended & (number <= fewest)) | cut_off,
        returns=jnp.where(cut_off, reached, transitions.info["returned_episode_returns"]),
        lengths=jnp.where(cut_off, ended.shape[-1], transitions.info["returned_episode_lengths"]),
        unfinished=unfinished,
    )


def mean_return(transitions: Transition) -> Array:
    """The mean undiscounted return of an evaluation's episodes.

    To average `info["returned_episode_returns"]` itself would be wrong: it holds the return of the last episode that
    ended at every step, and zero before the first end.

    Args:
        transitions: what `Algorithm.evaluate` returns, leaves `[..., B, T]`.

    Returns:
        float32 `[...]`: the mean over the episodes that `evaluated_episodes` counts.

    Raises:
        ValueError: if they are none, such as all that `evaluate` returns.
    """
    if not hasattr(transitions, "info"):
        raise ValueError(
            f"transitions ({described(transitions)}) must be what evaluate returns last: "
            "_, transitions = agent.evaluate(...)"
        )
    episodes = evaluated_episodes(transitions)
    total = jnp.sum(jnp.where(episodes.counted, episodes.returns, 0.0), axis=(-2, -1))
    return total / jnp.sum(episodes.counted, axis=(-2, -1))


def unfinished_warning(unfinished: int, count: int, setting: str, num_steps: int) -> str:
    """A line that says how many of an evaluation's episodes count although they had not ended.

    Args:
        unfinished: number of episodes that had not ended.
        count: number of episodes that count.
        setting: name of the setting that makes an evaluation longer.
        num_steps: value of that setting.
    """
    return (
        f"{unfinished} of the {count} episodes of an evaluation had not ended when it did, and count with the return "
        f"they had reached: make {setting} ({num_steps}) larger"
    )
