"""Wrappers: environments that change another environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memorax.environments.environment import Environment
from memorax.environments.wrappers.action_repeat import ActionRepeat
from memorax.environments.wrappers.agents import AgentId, GlobalState
from memorax.environments.wrappers.arguments import switch
from memorax.environments.wrappers.batch_wrapper import BatchWrapper
from memorax.environments.wrappers.clip_action import ClipAction
from memorax.environments.wrappers.delay_observation import DelayObservation
from memorax.environments.wrappers.flatten_action import FlattenAction, FlattenBoxAction, flatten_action
from memorax.environments.wrappers.flatten_observation import FlattenObservation
from memorax.environments.wrappers.flicker_observation import FlickerObservation
from memorax.environments.wrappers.frame_stack import FrameStack
from memorax.environments.wrappers.mask_observation import MaskObservation
from memorax.environments.wrappers.noisy_observation import NoisyObservation
from memorax.environments.wrappers.normalize_observation import NormalizeObservation
from memorax.environments.wrappers.normalize_reward import NormalizeReward
from memorax.environments.wrappers.optimistic_resets import OptimisticResets
from memorax.environments.wrappers.periodic_observation import PeriodicObservation
from memorax.environments.wrappers.previous_action_and_reward import PreviousActionAndReward
from memorax.environments.wrappers.rescale_action import RescaleAction, rescale_action
from memorax.environments.wrappers.scale_reward import ScaleReward
from memorax.environments.wrappers.sticky_actions import StickyActions
from memorax.environments.wrappers.time_limit import TimeLimit
from memorax.environments.wrappers.transform import Transform
from memorax.environments.wrappers.wrapper import Wrapper

WRAPPERS: Mapping[str, Callable[[Environment, Any], Environment]] = {
    "global_state": switch("global_state", GlobalState),
    "agent_id": switch("agent_id", AgentId),
    "action_repeat": ActionRepeat,
    "time_limit": TimeLimit,
    "optimistic_resets": OptimisticResets,
    "sticky_actions": StickyActions,
    "rescale_action": rescale_action,
    "clip_action": switch("clip_action", ClipAction),
    "flatten_action": switch("flatten_action", flatten_action),
    "scale_reward": ScaleReward,
    "normalize_reward": NormalizeReward,
    "flatten_observation": switch("flatten_observation", FlattenObservation),
    "mask_observation": MaskObservation,
    "noisy_observation": NoisyObservation,
    "delay_observation": DelayObservation,
    "normalize_observation": switch("normalize_observation", NormalizeObservation),
    "flicker_observation": FlickerObservation,
    "periodic_observation": PeriodicObservation,
    "frame_stack": FrameStack,
    "previous_action_and_reward": switch("previous_action_and_reward", PreviousActionAndReward),
}
"""The wrappers that `make` applies by keyword, the innermost first: `make(id, mask_observation=(0, 2))`."""

__all__ = [
    "WRAPPERS",
    "ActionRepeat",
    "AgentId",
    "BatchWrapper",
    "ClipAction",
    "DelayObservation",
    "FlattenAction",
    "FlattenBoxAction",
    "FlattenObservation",
    "FlickerObservation",
    "FrameStack",
    "GlobalState",
    "MaskObservation",
    "NoisyObservation",
    "NormalizeObservation",
    "NormalizeReward",
    "OptimisticResets",
    "PeriodicObservation",
    "PreviousActionAndReward",
    "RescaleAction",
    "ScaleReward",
    "StickyActions",
    "TimeLimit",
    "Transform",
    "Wrapper",
]
