"""Normalises observations to mean 0 and variance 1."""

from __future__ import annotations

from flax import struct

from memorax.environments.environment import Environment, StepResult, VectorEnvironment
from memorax.environments.spaces import Box, Space
from memorax.environments.wrappers.arguments import require_box
from memorax.environments.wrappers.batch_wrapper import BatchWrapper
from memorax.environments.wrappers.parts import put_spaces_together, put_together, take_apart, take_space_apart
from memorax.environments.wrappers.running_statistics import (
    CLIP,
    RunningStatistics,
    for_all,
    initial_statistics,
    of_one,
    standardize,
    update_statistics,
)
from memorax.types import Array, Key, PyTree


class NormalizedObservationState(struct.PyTreeNode):
    """The state of the batch inside, and the statistics, which every environment holds a copy of: leaves `[B, ...]`."""

    env_state: PyTree
    statistics: RunningStatistics


class NormalizeObservation(BatchWrapper):
    """Shift and scale each element of an observation by its running mean and standard deviation, and clip it to +-10.

    The statistics are of every observation that was acted upon in training, in all environments together; each step
    counts before it is normalised. They are part of the state, so that a checkpoint saves them; evaluation uses them
    and leaves them as they are. Final observations are normalised too, without being counted. An element that is not
    finite is passed on (NaN as it is, infinity as +-10), counted in the statistics' `left_out` and in nothing else; of
    outliers see `update_statistics`. Encoders know pixels that are normalised by these bounds, and leave them as they
    are.

    Args:
        env: an environment whose observations are a `Box`.

    Raises:
        ValueError: if observations are no `Box`.
    """

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        require_box("normalize_observation", env)

    def observation_space(self, params: PyTree) -> Space:
        own, kept = take_space_apart(self.env.observation_space(params))
        return put_spaces_together(Box(-CLIP, CLIP, own.shape), kept)

    @property
    def has_running_statistics(self) -> bool:
        return True

    def vectorize(self, num_envs: int) -> VectorEnvironment:
        return NormalizedObservations(self, self.env.vectorize(num_envs))

    def inner_state(self, env_state: NormalizedObservationState) -> PyTree:
        return env_state.env_state


class NormalizedObservations(VectorEnvironment):
    """A batch whose observations are normalised.

    Attributes:
        env: the wrapper.
        inner: the batch inside.
        fixed: statistics to use and keep; by default they follow the observations.
    """

    env: NormalizeObservation

    def __init__(
        self, env: NormalizeObservation, inner: VectorEnvironment, fixed: RunningStatistics | None = None
    ) -> None:
        super().__init__(env, inner.num_envs)
        self.inner = inner
        self.fixed = fixed

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, NormalizedObservationState]:
        observation, env_state = self.inner.reset(key, params)
        own, _ = take_apart(observation)
        statistics = self._updated(initial_statistics(own.shape[1:]), own)
        return _standardized(statistics, observation), self._state(env_state, statistics)

    def step(self, key: Key, env_state: NormalizedObservationState, action: PyTree, params: PyTree) -> StepResult:
        observation, inner, reward, terminated, truncated, info = self.inner.step(
            key, env_state.env_state, action, params
        )
        own, _ = take_apart(observation)
        # What an agent that went out sees is acted upon by nobody, until the next episode.
        counts = terminated | truncated | (info["active"] & ~info["went_out"]) if "active" in info else None
        statistics = self._updated(of_one(env_state.statistics), own, counts)
        info = {**info, "final_observation": _standardized(statistics, info["final_observation"])}
        state = self._state(inner, statistics)
        return _standardized(statistics, observation), state, reward, terminated, truncated, info

    def frozen(self, env_state: NormalizedObservationState) -> VectorEnvironment:
        inner = self.inner.frozen(env_state.env_state)
        return NormalizedObservations(self.env, inner, fixed=of_one(env_state.statistics))

    def _updated(self, statistics: RunningStatistics, own: Array, counts: Array | None = None) -> RunningStatistics:
        return update_statistics(statistics, own, counts) if self.fixed is None else self.fixed

    def _state(self, env_state: PyTree, statistics: RunningStatistics) -> NormalizedObservationState:
        return NormalizedObservationState(env_state=env_state, statistics=for_all(statistics, self.batch_size))


def _standardized(statistics: RunningStatistics, observation: PyTree) -> PyTree:
    """Observations `[B, ...]`, what the agent observes of them standardized."""
    own, kept = take_apart(observation)
    return put_together(standardize(statistics, own), kept)
