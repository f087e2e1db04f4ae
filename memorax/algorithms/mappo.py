"""PPO for several agents: independent (IPPO) and with a critic that sees everything (MAPPO).

De Witt et al., 2020, "Is Independent Learning All You Need in the StarCraft Multi-Agent Challenge?"; Yu et al., 2022,
"The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games".

`PPO` learns from the rows of all agents, leaves out those that are out and bootstraps each one's return by itself. What
is left is who sees what. Parameters are shared unless a network's parts are `PerAgent`.
"""

from __future__ import annotations

from typing import ClassVar

from memorax.algorithms.algorithm import PRIVILEGED
from memorax.algorithms.ppo import PPO
from memorax.environments.spaces import Dict


class IPPO(PPO):
    """PPO whose critic sees what its agent sees, and no global state."""

    privileged: ClassVar[tuple[str, ...]] = ()


class MAPPO(PPO):
    """PPO whose critic also sees the global state."""

    def _check_environment(self) -> None:
        space = self.env.observation_space(self.env_params)
        if not (isinstance(space, Dict) and PRIVILEGED in space.spaces):
            raise ValueError(
                f"MAPPO needs observations of {self.env.name} with an entry {PRIVILEGED!r} for its critic: "
                "make it with global_state=True, or use IPPO"
            )
