"""Makes environments that end at the same step share a few first states, where resets are expensive."""

from __future__ import annotations

from numbers import Integral

from memorax.environments.environment import Environment, StepResult
from memorax.environments.wrappers.arguments import require_step_env
from memorax.environments.wrappers.wrapper import Wrapper
from memorax.types import Key, PyTree


class OptimisticResets(Wrapper):
    """Draw a few first states per step of a batch, for the environments that end to share.

    With auto-reset a batch computes a reset for every environment at every step, though few of them end. See
    `OptimisticVectorEnvironment` for who starts where.

    Args:
        env: the environment.
        num_fresh_states: first states drawn at a step; at least as many as there are environments is plain
            auto-reset, and so is 0.

    Raises:
        ValueError: if `num_fresh_states` is no integer from 0 up, or the environment is only stepped in batches.
    """

    def __init__(self, env: Environment, num_fresh_states: int) -> None:
        require_step_env("optimistic_resets", env)
        super().__init__(env)
        whole = isinstance(num_fresh_states, Integral) and not isinstance(num_fresh_states, bool)
        if not whole or num_fresh_states < 0:
            raise ValueError(
                f"optimistic_resets ({num_fresh_states!r}) must be how many first states to draw per step "
                "(0 draws one for each environment)"
            )
        self._num_fresh_states = int(num_fresh_states)

    def num_fresh_states(self, num_envs: int) -> int:
        return self._num_fresh_states or num_envs

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        return self.env.step_env(key, env_state, action, params)
