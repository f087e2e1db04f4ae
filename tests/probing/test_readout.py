"""A linear map reads a delay line as far as it goes, and guesses beyond."""

from __future__ import annotations

import numpy as np
import pytest

from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space
from memorax.probing import linear_readout, observation_targets

LENGTH = 3
DONE = np.arange(40)[None] % 20 == np.zeros((8, 1))


def observations(space: Space) -> np.ndarray:
    rng = np.random.default_rng(0)
    match space:
        case Discrete():
            return rng.integers(space.n, size=DONE.shape)
        case MultiDiscrete():
            return rng.integers(space.nvec, size=(*DONE.shape, len(space.nvec)))
        case _:
            return rng.normal(size=(*DONE.shape, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("space", "chance"),
    [(Discrete(4), 0.25), (MultiDiscrete((2, 4)), (0.5 + 0.25) / 2), (Box(-1.0, 1.0, (2,)), 0.0)],
    ids=["symbols", "several", "numbers"],
)
def test_a_delay_line_is_read_as_far_as_it_goes(space: Space, chance: float) -> None:
    targets = observation_targets(space, observations(space))
    delayed = [np.pad(targets.vectors, ((0, 0), (lag, 0), (0, 0)))[:, : DONE.shape[1]] for lag in range(LENGTH)]
    mixed = np.concatenate(delayed, axis=-1) @ np.random.default_rng(1).normal(size=(LENGTH * delayed[0].shape[-1], 30))
    found = linear_readout(mixed, targets, DONE, 20)
    assert found.of_choices == (not isinstance(space, Box))
    assert (found.scores[:LENGTH] > 0.98).all()
    assert np.abs(found.scores[LENGTH:12] - chance).max() < 0.15
    assert np.abs(found.chance[:12] - chance).max() < 0.15
    np.testing.assert_array_equal(np.isnan(found.scores), np.isnan(found.chance))
    assert np.isnan(found.scores[17]) and not np.isnan(found.scores[16]), "of each of 8 episodes, 20 - lag steps"


def test_it_is_tested_on_other_rows_than_it_was_fitted_to() -> None:
    noise = np.random.default_rng(2).normal(size=(*DONE.shape, 500))
    found = linear_readout(noise, observation_targets(Discrete(2), observations(Discrete(2))), DONE, 3)
    assert np.abs(found.scores - 0.5).max() < 0.15, "with more numbers than steps, everything can be fitted"


def test_wide_observations_are_read_at_some_places() -> None:
    pictures = np.broadcast_to(np.arange(600, dtype=np.float32), (2, 3, 600))
    targets = observation_targets(Box(0.0, 600.0, (600,)), pictures)
    np.testing.assert_array_equal(targets.vectors[0, 0], np.arange(0, 600, 3))


def test_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vectors \(1 row\) need a row to fit and another one to test"):
        linear_readout(np.zeros((1, 4, 2)), observation_targets(Discrete(2), np.zeros((1, 4), int)), DONE[:1], 1)
