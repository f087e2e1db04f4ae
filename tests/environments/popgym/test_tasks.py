"""Every task that is exact in float32 against the `popgym` package, on the package's own draws."""

from __future__ import annotations

import numpy as np
import pytest

from memorax.environments.popgym import make
from tests.environments.popgym.reference import LEVELS, TASKS, make_reference, record, replay

EPISODES = [10, pytest.param(100, marks=pytest.mark.slow)]


@pytest.mark.parametrize("num_episodes", EPISODES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TASKS)
def test_episodes_equal_the_package(name: str, level: str, num_episodes: int) -> None:
    """As many episodes of random and of expert play."""
    task, reference = TASKS[name], make_reference(f"{name}{level}")
    plays = ["random"] * num_episodes + ["expert"] * num_episodes
    recorded = [record(task, reference, seed, play) for seed, play in enumerate(plays)]
    env, params = make(f"{name}{level}")
    ours = replay(task, env, params, [episode for episode, _ in recorded])
    for (episode, best), play, observations, rewards, terminated, truncated in zip(recorded, plays, *ours, strict=True):
        length = episode.length
        np.testing.assert_array_equal(observations[: length + 1], episode.observations)
        np.testing.assert_allclose(rewards[:length], episode.rewards, rtol=0, atol=1e-7)
        np.testing.assert_array_equal(terminated[:length], episode.terminated)
        # Where the package sets both flags, `terminated` is set alone.
        np.testing.assert_array_equal(truncated[:length], episode.truncated & ~episode.terminated)
        if best is not None:
            assert np.sum(episode.rewards) <= best + 1e-6
        if play == "expert" and best is not None:
            assert np.sum(episode.rewards) == pytest.approx(best, abs=1e-6)
            assert np.sum(rewards[:length], dtype=np.float64) == pytest.approx(best, abs=1e-5)
