"""The pufferlib adapter, on an environment that keeps the protocol of the package's own."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from memorax.environments import host, make
from memorax.testing import check_environment


class Count:
    """Counts to three, then to four, and so on: its arrays are written over, its episodes start by themselves."""

    def __init__(self, num_envs: int = 1, length: int = 3, truncates: bool = False, buf: Any = None, seed: int = 0):
        self.num_agents, self.length, self.truncates = num_envs, length, truncates
        # As the package's own do, it oversteps the bounds that it states.
        self.single_observation_space = spaces.Box(0, 1, (2,), np.uint8)
        self.single_action_space = spaces.Discrete(2)
        self.observations = np.zeros((num_envs, 2), np.uint8)
        self.ends = np.zeros(num_envs, bool)

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, list[Any]]:
        self.observations[:, 0] = 0
        self.observations[:, 1] = np.random.default_rng(seed).integers(0, 100, self.num_agents)
        return self.observations, []

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self.observations[:, 0] += 1
        self.ends[:] = self.observations[:, 0] == self.length + np.arange(self.num_agents)
        self.observations[self.ends, 0] = 0
        truncated = self.ends & self.truncates
        return self.observations, np.ones(self.num_agents), self.ends & ~truncated, truncated, []

    def close(self) -> None:
        self.observations = np.zeros((0, 2), np.uint8)


class Crowd(Count):
    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(2 * num_envs)


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = {"count": Count, "crowd": Crowd}
    environment = types.ModuleType("pufferlib.ocean.environment")
    environment.MAKE_FUNCTIONS = names  # type: ignore[attr-defined]
    environment.env_creator = lambda id: names[id.removeprefix("puffer_")]  # type: ignore[attr-defined]
    for name in ("pufferlib", "pufferlib.ocean"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, environment.__name__, environment)
    monkeypatch.delitem(sys.modules, "memorax.environments.pufferlib", raising=False)
    yield
    sys.modules.pop("memorax.environments.pufferlib", None)


def test_the_protocol_is_kept_but_for_final_observations() -> None:
    """The package keeps none: where an episode terminates nothing needs it, and a time limit is refused (see below)."""
    with pytest.raises(AssertionError, match="an episode ends with its own final observation"):
        check_environment(*make("pufferlib::puffer_count"), num_steps=20)


def test_what_a_step_returned_is_not_written_over() -> None:
    batch = make("pufferlib::puffer_count")[0].vectorize(2)

    def step(state: Any, _: None) -> Any:
        observation, state, _, terminated, truncated, _ = batch.step(None, state, jnp.zeros(2, jnp.int32), None)
        return state, (observation[:, 0], terminated, truncated)

    play = jax.jit(lambda: jax.lax.scan(step, batch.reset(jax.random.key(0), None)[1], length=4)[1])
    counts, terminated, truncated = play()
    np.testing.assert_array_equal(counts, [[1, 1], [2, 2], [0, 3], [1, 0]])
    np.testing.assert_array_equal(terminated, [[0, 0], [0, 0], [1, 0], [0, 1]])
    assert not truncated.any()


def test_a_time_limit_whose_observation_is_lost_is_an_error() -> None:
    batch = make("pufferlib::puffer_count", length=1, truncates=True)[0].vectorize(2)
    play = jax.jit(lambda: batch.step(None, batch.reset(jax.random.key(0), None)[1], jnp.zeros(2, jnp.int32), None)[2])
    with pytest.raises(ValueError, match="puffer_count met a time limit without keeping"), host.own_errors():
        jax.block_until_ready(play())


def test_what_is_not_supported_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^pufferlib::puffer_crowd has several agents"):
        make("pufferlib::puffer_crowd")
    with pytest.raises(ValueError, match=r"^pufferlib::puffer_count has no option 'size' \(valid: .*length"):
        make("pufferlib::puffer_count", size=3)
    monkeypatch.setitem(sys.modules, "pufferlib.ocean.environment", None)
    monkeypatch.delitem(sys.modules, "memorax.environments.pufferlib")
    with pytest.raises(
        ImportError, match="need the Ocean environments of pufferlib 3, which pufferlib-core leaves out"
    ):
        importlib.import_module("memorax.environments.pufferlib")
