"""Clips actions to their bounds."""

from __future__ import annotations

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box
from memorax.environments.wrappers.arguments import require_box_of_actions
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class ClipAction(Transform):
    """Move every action to the nearest one in the action space before it is taken.

    `rollout` does this for every environment; the wrapper does it for whoever steps the environment otherwise.

    Args:
        env: an environment whose actions are a `Box`.

    Raises:
        ValueError: if actions are no `Box`.
    """

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        require_box_of_actions("clip_action (True)", env)

    def act(self, key: Key, memory: PyTree, action: Array, params: PyTree) -> tuple[Array, PyTree]:
        space = self.env.action_space(params)
        assert isinstance(space, Box)
        return space.clip(action), memory
