"""Right agents whose losses say exactly what goes together, where the effect on their parameters would not."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest

from memorax.algorithms import ALGORITHMS
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Discrete
from memorax.testing.bench import Bench
from memorax.testing.pairing import places, ratios_to_own_effect
from tests.catalogue import CONFIGS
from tests.testing.test_learning import small_agent


class Clock(Environment):
    """Every row sees the same at the same time, in large numbers."""

    def reset(self, key: Any, params: Any) -> Any:
        return self._shown(0), jnp.zeros((), jnp.int32)

    def step_env(self, key: Any, time: Any, action: Any, params: Any) -> Any:
        time = time + 1
        paid = (action == time % 2).astype(jnp.float32)
        return self._shown(time), time, paid, time == 5, jnp.zeros((), bool), {}

    def _shown(self, time: Any) -> Any:
        return jnp.array([time, 100.0 - time], jnp.float32)

    def observation_space(self, params: Any) -> Box:
        return Box(0.0, 100.0, (2,))

    def action_space(self, params: Any) -> Discrete:
        return Discrete(2)


@pytest.mark.parametrize("name", ["ppo", pytest.param("r2d2", marks=pytest.mark.slow)])
def test_a_reward_has_to_do_with_what_was_seen_at_its_own_step_alone(name: str) -> None:
    bench = Bench(small_agent(ALGORITHMS[name][0], "mlp", CONFIGS[name], Clock()), 0)
    own, others = places(bench.act(bench.key(0, 0), bench.ready)[1])
    assert own is not None
    ratios = ratios_to_own_effect(bench, "observation", own, others)
    values = ratios[".critic" if name == "ppo" else ".learner"]
    assert len(values) == CONFIGS[name].num_envs * CONFIGS[name].num_steps - 1
    assert max(values.values()) < 1e-3
